package kvm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/libos/boot"
)

// machine is the virtual machine.
type machine struct {
	vm     *kvm.VM
	memory *memory
	ports  ports
	cpus   []*cpu

	// mu is held while writes that were coalesced are done: those of one CPU
	// must be done before what it does next.
	mu sync.Mutex

	ended chan error // receives once
	end   sync.Once
}

// newMachine makes a machine of n CPUs, the first of which begins at entry.
func newMachine(sys *kvm.System, mem *memory, n int, entry uint64, text *os.File) (*machine, error) {
	vm, err := sys.CreateVM()
	if err != nil {
		return nil, err
	}
	m := &machine{vm: vm, memory: mem, ports: ports{text: text}, ended: make(chan error, 1)}
	if err := mem.give(vm); err != nil {
		return nil, err
	}
	host, err := sys.SupportedCPUID()
	if err != nil {
		return nil, err
	}
	for i := range n {
		c, err := newCPU(m, i)
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
		if i == 0 {
			if err := begin(c.VCPU, entry); err != nil {
				return nil, err
			}
		}
		m.cpus = append(m.cpus, c)
	}
	return m, nil
}

// run runs the machine until its end and returns the exit code.
func (m *machine) run() (int, error) {
	for _, c := range m.cpus {
		go c.loop()
	}
	if err := <-m.ended; err != nil {
		return 0, err
	}
	return m.ports.exit, nil
}

// stop ends the machine: err is why, nil for an end by the guest itself. The
// first one counts.
func (m *machine) stop(err error) { m.end.Do(func() { m.ended <- err }) }

// cpu is a virtual CPU.
type cpu struct {
	*kvm.VCPU
	m  *machine
	id int
}

func newCPU(m *machine, id int) (*cpu, error) {
	c, err := m.vm.CreateVCPU(id)
	if err != nil {
		return nil, err
	}
	return &cpu{c, m, id}, nil
}

// loop runs the guest on a thread of its own.
func (c *cpu) loop() {
	runtime.LockOSThread()
	for {
		reason, err := c.Run()
		if err == nil {
			err = c.handle(reason)
		}
		if err != nil {
			if errors.Is(err, errEnd) {
				err = nil
			} else {
				err = fmt.Errorf("CPU %d: %w", c.id, err)
			}
			c.m.stop(err)
			return
		}
	}
}

// errEnd is that the guest has ended itself.
var errEnd = errors.New("end")

// handle does what the guest's CPU stopped for.
func (c *cpu) handle(reason uint32) error {
	c.m.mu.Lock()
	c.Coalesced(c.m.access)
	c.m.mu.Unlock()
	switch reason {
	case kvm.ExitIO:
		io, err := c.IO()
		if err != nil {
			return err
		}
		return c.m.ports.access(io)
	case kvm.ExitMMIO:
		c.m.access(c.MMIO())
		return nil
	case kvm.ExitInterrupted:
		return nil
	case kvm.ExitShutdown, kvm.ExitSystemEvent:
		return errors.New("the guest crashed: it reset itself" + c.registers())
	case kvm.ExitInternalError:
		return errors.New("KVM stopped: " + c.InternalError() + c.registers())
	}
	return fmt.Errorf("KVM stopped for reason %d%s", reason, c.registers())
}

// registers shows where the CPU is, as the end of an error.
func (c *cpu) registers() string {
	r, err := c.Regs()
	if err != nil {
		return ""
	}
	s, err := c.Sregs()
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (ip %#x cs %#x flags %#x sp %#x ax %#x cr2 %#x cr3 %#x)", r.RIP, s.CS.Selector, r.RFLAGS, r.RSP, r.RAX, s.CR2, s.CR3)
}

// access is the guest's access to an address without memory.
func (m *machine) access(a kvm.MMIO) {
	if !a.Write {
		for i := range a.Data {
			a.Data[i] = 0xff
		}
	}
}

// ports are the machine's I/O ports: what an image says without a driver, and
// its end (libos/boot).
type ports struct {
	text *os.File // nil: nowhere

	mu      sync.Mutex
	control []byte // the line that is being written
	exit    int
}

// maxLine is the longest line that an image has to say.
const maxLine = 256

// debugThere is what a port of the debug console reads.
const debugThere = 0xe9

func (p *ports) access(io kvm.IO) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case !io.Write:
		v := byte(0xff)
		if io.Port == boot.DebugText || io.Port == boot.DebugControl {
			v = debugThere
		}
		for i := range io.Data {
			io.Data[i] = v
		}
	case io.Port == boot.DebugText:
		if p.text != nil {
			// That nobody reads is the program's matter.
			_, _ = p.text.Write(io.Data)
		}
	case io.Port == boot.DebugControl:
		for _, b := range io.Data {
			if b != '\n' {
				p.control = append(p.control, b)
				p.control = p.control[:min(len(p.control), maxLine)]
				continue
			}
			if e, err := boot.ParseMachineExit(string(p.control)); err == nil {
				p.exit = int(e)
			}
			p.control = p.control[:0]
		}
	case io.Port == boot.DebugExit:
		return errEnd
	}
	return nil
}
