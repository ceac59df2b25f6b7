// Package machine starts what a virtual machine has and a confined process has
// not: the drivers of its devices, as far as a program needs them before it
// runs. It stands on the drivers' packages; package sys calls it, before the
// program's packages are initialised.
//
// The network is package inet's to start, which the program may not have.
package machine

import (
	"strconv"

	"github.com/pith-os/pith/libos/acpi"
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/entropy"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/balloon"
	"github.com/pith-os/pith/libos/virtio/ninep"
	"github.com/pith-os/pith/libos/virtio/vsock"
)

// Start finds the machine's devices and starts them. In a confined process it
// does nothing.
func Start() {
	if !platform.VM() {
		return
	}
	control := startConsole(virtio.Find(virtio.IDConsole))
	reportUnknown(virtio.Discover())
	entropy.Start()
	addDisks(virtio.Find(virtio.IDBlock))
	mountFolders(platform.Config().Mounts)
	if sockets := virtio.Find(virtio.IDSocket); len(sockets) > 0 {
		vsock.AddDevice(sockets[0])
	}
	if control == nil {
		// No monitor to ask for an end, and none to make one.
		startButton()
		platform.AfterFunc(delay, startBalloons)
		return
	}
	platform.AfterFunc(delay, func() {
		startBalloons()
		startButton()
	})
	if platform.Config().Clock.Time == 0 {
		control.awaitTime()
	}
}

// delay is when what no program waits for is started, in nanoseconds.
const delay = 100e6

// startBalloons starts what a program has no use for at first. A machine that
// lacks it does what it does otherwise, so that a device that fails is no reason
// to end; the same holds for startButton.
func startBalloons() {
	for _, t := range virtio.Find(virtio.IDBalloon) {
		if errno := balloon.Start(t); errno != 0 {
			say("device " + t.Name() + " (memory balloon) does not start: " + errno.Name())
		}
	}
}

// startButton watches the power button. A press from before is seen then.
func startButton() {
	if errno := acpi.Start(); errno != 0 {
		say("the power button is not watched: " + errno.Name())
	}
}

// mountFolders mounts the folders of the host. A program must not run without
// one that it was promised.
func mountFolders(mounts []boot.Mount) {
	for _, m := range mounts {
		if err := ninep.Mount(m); err != nil {
			say(err.Error())
			platform.Exit(boot.ExitFailure)
		}
	}
}

// reportUnknown names the devices for which there is no driver.
func reportUnknown(devices []virtio.Transport) {
	for _, t := range devices {
		switch id := t.DeviceID(); id {
		case virtio.IDNet, virtio.IDBlock, virtio.IDConsole, virtio.IDEntropy, virtio.IDBalloon, virtio.IDNineP, virtio.IDSocket:
		default:
			say("device " + t.Name() + " (virtio " + strconv.Itoa(int(id)) + ") has no driver here, and is not used")
		}
	}
}

// say writes a line for the user.
var say = func(line string) { platform.ConsoleWrite(2, []byte("pith: "+line+"\n")) }
