package kvm

import (
	"fmt"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"
)

// handleArch handles the exits that handle does not know: an access to an I/O port.
func (c *cpu) handleArch(reason uint32) error {
	if reason != kvm.ExitIO {
		return fmt.Errorf("KVM stopped for reason %d%s: %s", reason, c.registers(), otherwise)
	}
	io, err := c.IO()
	if err != nil {
		return err
	}
	return c.m.ports.access(io)
}

// doorbellMessage returns the message that interrupts vCPU id by its doorbell (Intel SDM 3A
// §11.11). A vCPU and its APIC have the same id.
func doorbellMessage(id int) kvm.Message {
	return kvm.Message{Addr: 0xfee00000 | uint64(id)<<12, Data: boot.DoorbellVector}
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
