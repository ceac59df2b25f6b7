package qemu

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Machine types.
const (
	Microvm = "microvm" // virtio over MMIO
	Q35     = "q35"     // virtio over PCI
)

// maxCommandLine is the maximum length of a kernel command line in bytes. The option ROM that
// boots q35 has a buffer of 4096 bytes, and writes a longer line beyond it.
const maxCommandLine = 4095

// command builds a QEMU command line.
type command struct {
	machine string
	args    []string
	files   []*os.File // QEMU's descriptors from firstFD on
	own     []*os.File // the elements of files that only QEMU needs
	ends    []*os.File // this process's ends of QEMU's sockets
}

// firstFD is the lowest descriptor after the standard ones.
const firstFD = 3

func (q *command) add(args ...string) { q.args = append(q.args, args...) }

// option adds an option with its properties. It leaves out empty properties.
func (q *command) option(name string, properties ...string) {
	kept := properties[:0]
	for _, p := range properties {
		if p != "" {
			kept = append(kept, p)
		}
	}
	q.add(name, strings.Join(kept, ","))
}

// value returns a property with a value that may contain commas.
func value(key, v string) string { return key + "=" + strings.ReplaceAll(v, ",", ",,") }

// device adds a virtio device, by MMIO or PCI.
func (q *command) device(name string, properties ...string) {
	if q.machine == Microvm {
		q.option("-device", append([]string{name + "-device"}, properties...)...)
		return
	}
	q.option("-device", append([]string{name + "-pci", "disable-legacy=on"}, properties...)...)
}

// inherit makes QEMU inherit f, and returns f's descriptor in QEMU.
func (q *command) inherit(f *os.File) int {
	q.files = append(q.files, f)
	return firstFD + len(q.files) - 1
}

// character adds a character device that is one end of a pair of unix sockets. It returns the
// other end.
func (q *command) character(id string, options ...string) (*os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for %s: %w", id, err)
	}
	theirs, end := os.NewFile(uintptr(pair[0]), id), os.NewFile(uintptr(pair[1]), id)
	q.own = append(q.own, theirs)
	q.ends = append(q.ends, end)
	q.option("-chardev", append([]string{"socket", "id=" + id, "fd=" + strconv.Itoa(q.inherit(theirs))}, options...)...)
	return end, nil
}

// port adds a port of the console device, over a character device with the same name.
func (q *command) port(name string, options ...string) (*os.File, error) {
	end, err := q.character(name, options...)
	q.option("-device", "virtserialport", "chardev="+name, "name="+name)
	return end, err
}

// debugOn adds an I/O port of one-byte messages over a character device.
func (q *command) debugOn(id string, port int) {
	q.option("-device", "isa-debugcon", fmt.Sprintf("iobase=%#x", port), "chardev="+id)
}

// close closes the files that only QEMU needs.
func (q *command) close() {
	for _, f := range q.own {
		f.Close()
	}
}

// abandon closes all files of a VM that does not start.
func (q *command) abandon() {
	q.close()
	for _, f := range q.ends {
		f.Close()
	}
}

// compose composes the command line of an instance, and sets vm's ends of QEMU's sockets.
func (q *command) compose(vm *machine, accel string, c *instance.Launch) error {
	q.machine = c.Machine.Type
	if q.machine == "" {
		q.machine = description.MachineTypes[0]
	}
	line, err := guest.BootLine(c)
	if err != nil {
		return err
	}
	if err := checkMemory(c, len(line)); err != nil {
		return err
	}
	q.hardware(accel, c)
	// QEMU gets the open file, because another file may have its name now.
	q.add("-kernel", fmt.Sprintf("/proc/self/fd/%d", q.inherit(c.Image)))
	if err := q.parameters(line); err != nil {
		return err
	}
	q.device("virtio-rng", q.noROM())
	q.device("virtio-balloon", "free-page-reporting=on")
	if err := q.ports(vm, c); err != nil {
		return err
	}
	if c.Network != nil {
		if err := q.network(vm, accel, c); err != nil {
			return err
		}
	}
	for i := range c.Disks {
		if q.machine == Microvm { // a microvm's guest finds the last device first
			i = len(c.Disks) - 1 - i
		}
		if err := q.disk(i, c.Disks[i]); err != nil {
			return err
		}
	}
	for i, f := range c.Folders {
		readOnly := ""
		if f.ReadOnly {
			readOnly = "readonly=on"
		}
		q.option("-fsdev", "local", "id="+tag(i), value("path", f.Host), "security_model=none", "multidevs=remap", readOnly)
		q.device("virtio-9p", q.noROM(), "fsdev="+tag(i), "mount_tag="+tag(i))
	}
	if c.Machine.Debugger != "" {
		q.add("-gdb", "tcp:"+c.Machine.Debugger, "-S")
	}
	return nil
}

// parameters passes the boot parameters as the kernel command line. If they are too long, it
// passes them in a file as a boot module.
func (q *command) parameters(line string) error {
	if len(line) <= maxCommandLine {
		q.add("-append", line)
		return nil
	}
	fd, err := unix.MemfdCreate("parameters", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("file for boot parameters: %w", err)
	}
	module := os.NewFile(uintptr(fd), "parameters")
	q.own = append(q.own, module)
	if _, err := module.WriteString(line); err != nil {
		return fmt.Errorf("write boot parameters: %w", err)
	}
	q.add("-initrd", fmt.Sprintf("/proc/self/fd/%d", q.inherit(module)))
	return nil
}

// checkMemory returns an error if the image's segments and the boot parameters do not fit into
// the VM's memory. QEMU itself reports no error if a segment is beyond the memory. It puts a
// boot module at the end of the memory.
func checkMemory(c *instance.Launch, line int) error {
	f, err := elf.NewFile(c.Image)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.Image.Name(), err)
	}
	end := uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			end = max(end, p.Paddr+p.Memsz)
		}
	}
	if line > maxCommandLine {
		end += 2 * uint64(line) // the image copies the boot parameters
	}
	return guest.CheckMemory(c.Memory, end)
}

// tag returns the name of a folder's device.
func tag(i int) string { return fmt.Sprintf("fs%d", i) }

// hardware adds the options for everything except virtio devices.
func (q *command) hardware(accel string, c *instance.Launch) {
	cpu := c.Machine.CPUModel
	if cpu == "" {
		cpu = "max"
	}
	// The back end of the network card maps this memory, too.
	huge := ""
	if c.HugePages {
		huge = "hugetlb=on"
	}
	q.option("-object", "memory-backend-memfd", "id=memory", fmt.Sprintf("size=%dK", c.Memory>>10), "share=on", huge)
	q.option("-m", fmt.Sprintf("%dK", c.Memory>>10))
	without := ""
	if q.machine == Q35 {
		without = "usb=off,sata=off,smbus=off,vmport=off"
	}
	q.option("-machine", q.machine, "accel="+accel, "memory-backend=memory", without)
	q.option("-cpu", cpu)
	q.option("-smp", strconv.Itoa(max(1, c.Boot.CPUs)))
	q.add("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
	q.option("-sandbox", "on", "obsolete=deny", "elevateprivileges=deny", "spawn=deny", "resourcecontrol=deny")
	q.option("-global", "virtio-mmio.force-legacy=false")
	q.option("-device", "isa-debug-exit", fmt.Sprintf("iobase=%#x", boot.DebugExit), "iosize=4")
}

// noROM keeps QEMU from loading the firmware of a PCI device. No VM boots from a device.
func (q *command) noROM() string {
	if q.machine == Q35 {
		return "romfile="
	}
	return ""
}

// ports adds the console device and the debug ports.
func (q *command) ports(vm *machine, c *instance.Launch) error {
	// Port 0 is reserved for a console. This device has no console.
	q.device("virtio-serial", q.noROM(), "max_ports=5")
	var errs [5]error
	vm.streams.in, errs[0] = q.port(boot.PortStdin)
	// Output that an image writes without a driver goes to standard error, in order.
	last := boot.PortStdout
	if guest.SameFile(c.Stdout, c.Stderr) {
		vm.streams.out, errs[1] = q.port(last, "mux=on")
	} else {
		last = boot.PortStderr
		vm.streams.out, errs[1] = q.port(boot.PortStdout)
		vm.streams.err, errs[2] = q.port(last, "mux=on")
	}
	q.debugOn(last, boot.DebugText)
	vm.control.Port, errs[3] = q.port(boot.PortControl)
	vm.debugControl, errs[4] = q.character("debug")
	q.debugOn("debug", boot.DebugControl)
	return errors.Join(errs[:]...)
}

// network adds the network card. QEMU shares the card's queues with this process
// (internal/device/net/vhostuser). On PCI without KVM it passes Ethernet frames instead,
// because QEMU 7.2 crashes there if the driver uses MSI-X with vhost-user.
func (q *command) network(vm *machine, accel string, c *instance.Launch) error {
	properties := []string{q.noROM(), "netdev=net", "mac=" + c.Boot.Net.MAC}
	if q.machine == Q35 && accel != KVM {
		q.device("virtio-net", properties...)
		return q.frames(vm)
	}
	pairs := min(max(1, c.Boot.CPUs), guest.MaxPairs)
	queues := ""
	if pairs > 1 {
		queues = fmt.Sprintf("queues=%d", pairs)
		properties = append(properties, "mq=on")
		if q.machine == Q35 {
			properties = append(properties, fmt.Sprintf("vectors=%d", 2*pairs+2))
		}
	}
	q.device("virtio-net", append(properties, "ctrl_guest_offloads=off")...)
	return q.queues(vm, pairs, queues)
}

// queues adds the back end of a card that shares its queues with this process.
func (q *command) queues(vm *machine, pairs int, property string) error {
	card, err := backend.New(pairs)
	if err != nil {
		return err
	}
	if vm.front, err = vhostuser.Listen(card); err != nil {
		return err
	}
	vm.link = card
	q.option("-chardev", "socket", "id=packets", fmt.Sprintf("path=/proc/self/fd/%d", q.inherit(vm.front.File())))
	q.option("-netdev", "vhost-user", "id=net", "chardev=packets", property)
	return nil
}

// frames adds the back end of a card that passes Ethernet frames, without offloads.
func (q *command) frames(vm *machine) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket for packets: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[0]), "packets")
	q.own = append(q.own, theirs)
	if vm.link, err = link.NewFrames(pair[1]); err != nil {
		return errors.Join(err, unix.Close(pair[1]))
	}
	q.option("-netdev", "dgram", "id=net", "local.type=fd", fmt.Sprintf("local.str=%d", q.inherit(theirs)))
	return nil
}
