package kvm

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/pith-os/pith/internal/kvm"
)

// cpu is a vCPU.
type cpu struct {
	*kvm.VCPU
	m  *machine
	id int
}

// loop runs the guest on a thread of its own, which confine confines first.
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

// errEnd says that the guest has ended itself.
var errEnd = errors.New("end")

// handle handles an exit of the vCPU. handleArch has those that only some
// architectures have.
func (c *cpu) handle(reason uint32) error {
	c.m.coalesced.Lock()
	c.Coalesced(c.m.access)
	c.m.coalesced.Unlock()
	switch reason {
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
	return c.handleArch(reason)
}
