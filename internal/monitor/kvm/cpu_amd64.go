package kvm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"
)

// cpu is a vCPU.
type cpu struct {
	*kvm.VCPU
	m  *machine
	id int
}

// loop runs the guest on its own thread. It first calls confine on that thread.
func (c *cpu) loop(confine func(*kvm.VCPU) error) {
	runtime.LockOSThread()
	err := confine(c.VCPU)
	for err == nil {
		var reason uint32
		if reason, err = c.Run(); err == nil {
			err = c.handle(reason)
		}
	}
	if errors.Is(err, errEnd) {
		c.m.stop(nil)
		return
	}
	c.m.stop(fmt.Errorf("vCPU %d: %w", c.id, err))
}

// errEnd means that the guest has ended itself.
var errEnd = errors.New("end")

// handle handles an exit of the vCPU.
func (c *cpu) handle(reason uint32) error {
	c.m.coalesced.Lock()
	c.Coalesced(c.m.access)
	c.m.coalesced.Unlock()
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
		return errors.New("the image crashed: it reset the virtual machine" + c.registers())
	case kvm.ExitInternalError:
		return fmt.Errorf("KVM stopped: %s%s: %s", c.InternalError(), c.registers(), otherwise)
	}
	return fmt.Errorf("KVM stopped for reason %d%s: %s", reason, c.registers(), otherwise)
}

// registers describes the vCPU's position, for the end of an error message.
func (c *cpu) registers() string {
	r, err := c.Regs()
	if err != nil {
		return ""
	}
	s, err := c.Sregs()
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (ip %#x cs %#x flags %#x sp %#x ax %#x cr2 %#x cr3 %#x)",
		r.RIP, s.CS.Selector, r.RFLAGS, r.RSP, r.RAX, s.CR2, s.CR3)
}

// ports are the VM's I/O ports. Through them an image writes text without a driver, and
// sends its exit code (package boot).
type ports struct {
	text *os.File // receives the text; nil: discarded

	mu      sync.Mutex
	control guest.Lines // of boot.DebugControl
	exit    int         // exit code, or noExit
}

// noExit means that the image has not sent an exit code.
const noExit = -1

// debugThere is the value that the port of a debug console returns for a read.
const debugThere = 0xe9

func newPorts(text *os.File) *ports {
	p := &ports{text: text, exit: noExit}
	p.control.Handle = func(line string) {
		if e, err := boot.ParseMachineExit(line); err == nil {
			p.exit = int(e)
		}
	}
	return p
}

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
			// The program goes on if its text has no reader.
			_, _ = p.text.Write(io.Data)
		}
	case io.Port == boot.DebugControl:
		p.control.Write(io.Data)
	case io.Port == boot.DebugExit:
		return errEnd
	}
	return nil
}
