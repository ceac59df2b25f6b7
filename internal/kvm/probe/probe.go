// Package probe finds out what KVM can do on this host. A successful open of /dev/kvm is
// not enough, so it runs code in a trial VM. On a host that is itself a VM, KVM may
// interpret privileged code, and may not know all instructions.
package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Found describes what KVM can do on this host.
type Found struct {
	// Instruction is the duration of an instruction at CPL 0.
	Instruction time.Duration
	// Interpreted reports whether KVM interprets code at CPL 0, because the hardware
	// cannot run it. The interpreter does not know all instructions. QEMU's VMs fail
	// then, but Pith's own VMs work.
	Interpreted bool
	// Exit is the duration of an exit to the monitor and back.
	Exit time.Duration
}

func (f Found) String() string {
	how := "runs code at CPL 0"
	if f.Interpreted {
		how = "interprets code at CPL 0, as it is itself virtualised"
	}
	instruction := "under 1ns"
	if f.Instruction > 0 {
		instruction = f.Instruction.String()
	}
	return fmt.Sprintf("KVM %s; %s an instruction there, %v an exit to the monitor", how, instruction, f.Exit.Round(100*time.Nanosecond))
}

// timeout is the maximum duration of a trial, which normally takes far less.
const timeout = 2 * time.Second

// native is a limit between two durations: a CPU executes an instruction faster, and
// KVM interprets an instruction more slowly.
const native = 50 * time.Nanosecond

const (
	rounds = 4   // only the fastest round counts: others may have been interrupted
	exits  = 16  // exits in a round
	loops  = 250 // loops in a round, of two instructions each
)

// Run runs a trial and returns what KVM can do.
func Run(ctx context.Context) (Found, error) {
	device, err := kvm.Open()
	if err != nil {
		return Found{}, err
	}
	type result struct {
		found Found
		err   error
	}
	ended := make(chan result, 1)
	go func() {
		defer device.Close()
		f, err := try(device)
		ended <- result{f, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := result{}
	select {
	case r = <-ended:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err != nil {
		return Found{}, fmt.Errorf("KVM does not run a trial: %w", r.err)
	}
	return r.found, nil
}

// errVector means that KVM cannot interpret the trial's vector instruction.
var errVector = errors.New("it cannot interpret a vector instruction")

// try runs the trial. It measures the times first, and then tries a vector instruction.
func try(device *os.File) (f Found, err error) {
	var trial tinyelf.Machine
	for range rounds {
		for range exits {
			trial.Out(boot.DebugText, "\x00")
		}
		trial.Loop(loops)
	}
	trial.Out(boot.DebugText, "\x00")
	trial.EnableVector()
	trial.Out(boot.DebugExit, "\x00")
	trial.Halt()
	var at []time.Time
	err = run(device, trial.Code(), func() { at = append(at, time.Now()) })
	if err != nil && !errors.Is(err, errVector) {
		return f, err
	}
	if len(at) != rounds*exits+1 {
		return f, fmt.Errorf("it made %d exits instead of %d", len(at), rounds*exits+1)
	}
	f = fastest(at)
	f.Interpreted = f.Instruction > native || err != nil
	return f, nil
}

// fastest computes the durations of an instruction and of an exit. at holds the times
// of a trial's exits.
func fastest(at []time.Time) (f Found) {
	var loop time.Duration
	for i, t := range at[1:] {
		took := t.Sub(at[i])
		best := &f.Exit
		if (i+1)%exits == 0 {
			best = &loop
		}
		if *best == 0 || took < *best {
			*best = took
		}
	}
	f.Instruction = max(0, loop-f.Exit) / (2 * loops)
	return f
}

// run runs code in a VM with one vCPU until it writes to boot.DebugExit. It calls text for
// each write to boot.DebugText.
func run(device *os.File, code []byte, text func()) error {
	runtime.LockOSThread() // a vCPU is bound to its thread
	defer runtime.UnlockOSThread()
	sys, err := kvm.New(int(device.Fd()))
	if err != nil {
		return err
	}
	vm, err := sys.CreateVM()
	if err != nil {
		return err
	}
	defer vm.Close()
	memory, err := unix.Mmap(-1, 0, tinyelf.MachineSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(memory)
	copy(memory, code)
	if err := vm.SetMemory(0, tinyelf.MachineAddr, memory); err != nil {
		return err
	}
	cpu, err := vm.CreateVCPU(0)
	if err != nil {
		return err
	}
	defer cpu.Close()
	if err := cpu.Begin(tinyelf.MachineAddr, 0); err != nil {
		return err
	}
	for {
		reason, err := cpu.Run()
		if err != nil {
			return err
		}
		switch reason {
		case kvm.ExitInterrupted:
			continue
		case kvm.ExitInternalError:
			return errVector
		case kvm.ExitIO:
		default:
			return fmt.Errorf("it stopped with exit reason %d", reason)
		}
		io, err := cpu.IO()
		if err != nil {
			return err
		}
		switch io.Port {
		case boot.DebugExit:
			return nil
		case boot.DebugText:
			text()
		default:
			return fmt.Errorf("it wrote to port %#x", io.Port)
		}
	}
}
