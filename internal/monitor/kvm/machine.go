package kvm

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/mmio"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/kvm"

	"golang.org/x/sys/unix"
)

// Device i is at the guest-physical address deviceBase + i*mmio.Size.
const (
	deviceBase = 0xd0000000
	maxDevices = 64
)

// machine is the VM with its vCPUs, memory and devices.
type machine struct {
	vm      *kvm.VM
	memory  *memory
	ports   *ports
	cpus    []*cpu
	devices []*mmio.Transport
	log     func(format string, args ...any)

	// coalesced is held while coalesced writes are handled. The coalesced writes of a
	// vCPU must take effect before its next access.
	coalesced sync.Mutex

	routing sync.Mutex
	routes  []kvm.Message
	lines   map[*event.Event]int // index in routes
	routed  int                  // number of routes whose events raise interrupts
	stale   bool                 // the kernel does not have the latest routes

	// outside carries accesses from the vCPUs' threads to another goroutine. The
	// accesses need system calls that the vCPUs' threads may not make.
	outside chan access

	ended chan error // receives once
	end   sync.Once
}

// newMachine makes a VM of n vCPUs with memory mem. text receives the text that the image
// writes without a driver.
func newMachine(sys *kvm.System, mem *memory, n int, text *os.File, log func(string, ...any)) (*machine, error) {
	vm, err := sys.CreateVM()
	if err != nil {
		return nil, err
	}
	m := &machine{vm: vm, memory: mem, ports: newPorts(text), log: log, lines: map[*event.Event]int{}, outside: make(chan access), ended: make(chan error, 1)}
	if err := mem.give(vm); err != nil {
		return nil, err
	}
	host, err := sys.SupportedCPUID()
	if err != nil {
		return nil, err
	}
	for i := range n {
		c, err := vm.CreateVCPU(i)
		if err != nil {
			return nil, err
		}
		khz, err := c.TSCKHz()
		if err != nil {
			return nil, err
		}
		if err := c.SetCPUID(cpuid(host, i, n, khz)); err != nil {
			return nil, err
		}
		m.cpus = append(m.cpus, &cpu{c, m, i})
	}
	return m, nil
}

// add adds a device to the VM. It returns the field of the boot parameters that has the
// device's address.
func (m *machine) add(d device.Device) (field string, err error) {
	if len(m.devices) == maxDevices {
		return "", fmt.Errorf("more than %d devices", maxDevices)
	}
	t, err := mmio.New(d, m, m.log)
	if err != nil {
		return "", err
	}
	addr := uint64(deviceBase + len(m.devices)*mmio.Size)
	m.devices = append(m.devices, t)
	for i := range t.Queues() {
		if err := m.vm.Notify(t.Kick(i).FD(), addr+mmio.QueueNotify, uint32(i)); err != nil {
			return "", err
		}
	}
	for _, part := range mmio.Deferrable {
		if err := m.vm.Coalesce(addr+part[0], uint32(part[1]-part[0])); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("virtio_mmio.device=4K@%#x:0", addr), nil
}

// doorbellAddr is the guest-physical address of the page of boot.Config.Doorbell.
const doorbellAddr = deviceBase - mmio.Size

// addDoorbell adds a doorbell by which vCPUs interrupt each other. It is fast, because KVM
// handles it without an exit to this process. addDoorbell returns the doorbell's
// guest-physical address. For a single vCPU it adds none and returns 0.
func (m *machine) addDoorbell() (addr uint64, err error) {
	if len(m.cpus) == 1 {
		return 0, nil
	}
	for _, c := range m.cpus {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return 0, os.NewSyscallError("eventfd", err)
		}
		line := uint32(len(m.routes))
		m.routes = append(m.routes, doorbellMessage(c.id))
		if err := errors.Join(m.vm.Interrupt(fd, line), m.vm.Notify(fd, doorbellAddr, uint32(c.id))); err != nil {
			return 0, err
		}
	}
	return doorbellAddr, m.vm.SetRoutes(m.routes)
}

// Route implements [mmio.Router].
func (m *machine) Route(call *event.Event, addr uint64, data uint32) error {
	m.routing.Lock()
	defer m.routing.Unlock()
	line, ok := m.lines[call]
	if !ok {
		line = len(m.routes)
		if line == kvm.MaxRoutes {
			return fmt.Errorf("more than %d interrupts", line)
		}
		m.lines[call] = line
		m.routes = append(m.routes, kvm.Message{})
	}
	if r := (kvm.Message{Addr: addr, Data: data}); m.routes[line] != r {
		m.routes[line], m.stale = r, true
	}
	return nil
}

// settle gives the kernel the routes that devices have requested. A device requests a route
// for each of its queues before it starts.
func (m *machine) settle() error {
	m.routing.Lock()
	defer m.routing.Unlock()
	if !m.stale {
		return nil
	}
	m.stale = false
	if err := m.vm.SetRoutes(m.routes); err != nil {
		return err
	}
	for call, line := range m.lines {
		if line < m.routed {
			continue
		}
		if err := m.vm.Interrupt(call.FD(), uint32(line)); err != nil {
			return err
		}
	}
	m.routed = len(m.routes)
	return nil
}

// run runs the VM until its end and returns the exit code. Before the guest's first
// instruction, each vCPU's thread calls confine.
func (m *machine) run(confine func(*kvm.VCPU) error) (int, error) {
	go func() {
		for a := range m.outside {
			if err := m.settle(); err != nil {
				m.stop(err)
			}
			a.device.Write(a.off, a.data)
			if err := m.settle(); err != nil {
				m.stop(err)
			}
			close(a.done)
		}
	}()
	for _, c := range m.cpus {
		go c.loop(confine)
	}
	if err := <-m.ended; err != nil {
		return 0, err
	}
	if m.ports.exit == noExit {
		return 0, errors.New("the image crashed: it ended the virtual machine without an exit code")
	}
	return m.ports.exit, nil
}

// stop ends the VM because of err. If err is nil, the guest has ended itself. Only the first
// call has an effect.
func (m *machine) stop(err error) { m.end.Do(func() { m.ended <- err }) }

// access is a vCPU's write to a device's register.
type access struct {
	device *mmio.Transport
	off    uint64
	data   []byte
	done   chan struct{}
}

// access handles the guest's access to a guest-physical address without memory.
func (m *machine) access(a kvm.MMIO) {
	i, off := (a.Addr-deviceBase)/mmio.Size, a.Addr%mmio.Size
	switch {
	case a.Addr < deviceBase || i >= uint64(len(m.devices)):
		if !a.Write {
			for i := range a.Data {
				a.Data[i] = 0xff
			}
		}
	case a.Write && m.devices[i].Acts(off):
		done := make(chan struct{})
		m.outside <- access{m.devices[i], off, a.Data, done}
		<-done
	case a.Write:
		m.devices[i].Write(off, a.Data)
	default:
		m.devices[i].Read(off, a.Data)
	}
}
