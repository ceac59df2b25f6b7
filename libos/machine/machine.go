// Package machine starts the drivers of a virtual machine's devices. It stands on the
// drivers' packages. Package sys calls it before the program's packages are
// initialised. A confined process has no devices.
//
// Package inet starts the network: a program without package net has none.
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

// Start finds the virtual machine's devices and starts them. In a confined process it
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
		// No monitor ends the program, so the power button does.
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

// delay is how long after the start the devices start that no program waits for, in
// nanoseconds.
const delay = 100e6

// startBalloons starts the memory balloons. The program runs without them as well, so
// a device that fails does not end it. The same holds for startButton.
func startBalloons() {
	for _, t := range virtio.Find(virtio.IDBalloon) {
		if errno := balloon.Start(t); errno != 0 {
			warn("device " + t.Name() + " (memory balloon) does not start: " + errno.Name())
		}
	}
}

// startButton watches the power button. An earlier press takes effect now.
func startButton() {
	if errno := acpi.Start(); errno != 0 {
		warn("the power button is not watched: " + errno.Name())
	}
}

// mountFolders mounts the shared folders. If one fails, the instance ends: the program
// relies on it.
func mountFolders(mounts []boot.Mount) {
	for _, m := range mounts {
		if err := ninep.Mount(m); err != nil {
			warn(err.Error())
			platform.Exit(boot.ExitFailure)
		}
	}
}

// reportUnknown names the devices that have no driver.
func reportUnknown(devices []virtio.Transport) {
	for _, t := range devices {
		switch id := t.DeviceID(); id {
		case virtio.IDNet, virtio.IDBlock, virtio.IDConsole, virtio.IDEntropy, virtio.IDBalloon, virtio.IDNineP, virtio.IDSocket:
		default:
			warn("device " + t.Name() + " (virtio " + strconv.Itoa(int(id)) + ") has no driver here, and is not used")
		}
	}
}

// warn writes a line for the user.
var warn = func(line string) { platform.ConsoleWrite(2, []byte("pith: "+line+"\n")) }
