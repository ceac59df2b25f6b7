package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pith-os/pith/internal/kvm/probe"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Accelerators.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// choice is an accelerator and why it is that one.
type choice struct {
	accel, why string
}

func (c choice) String() string {
	if c.why == "" {
		return c.accel
	}
	return c.accel + " (" + c.why + ")"
}

// trialTimeout is far more than a trial takes.
const trialTimeout = 10 * time.Second

// chooseAccel is the accelerator that is asked for, or KVM where a trial shows
// that it runs code.
func chooseAccel(ctx context.Context, asked string) (choice, error) {
	switch asked {
	case KVM, TCG:
		return choice{asked, ""}, nil
	case "":
	default:
		return choice{}, fmt.Errorf("accelerator %s is not known: choose %s or %s", asked, KVM, TCG)
	}
	if err := TryKVM(ctx); err != nil {
		return choice{TCG, err.Error()}, ctx.Err()
	}
	return choice{KVM, ""}, nil
}

// errInterpreted is that KVM runs code, but less of it than a machine of QEMU's
// has.
var errInterpreted = errors.New("KVM interprets code at CPL 0 here, as it is itself virtualised, and does not interpret all of it")

// TryKVM says why QEMU's machines cannot run by KVM on this host; nil: they can.
// That the device opens says little, and QEMU would take far longer to find out.
func TryKVM(ctx context.Context) error {
	found, err := probe.Run(ctx)
	if err == nil && found.Interpreted {
		err = errInterpreted
	}
	return err
}

// trialExit is a code that nothing but the trial image ends with.
const trialExit = 42

// try runs an image of a few instructions.
func try(ctx context.Context, program, machineType, accel string) error {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	var trial tinyelf.Machine
	trial.EnableVector()
	trial.Out(boot.DebugControl, boot.MachineExit(trialExit).String()+"\n")
	trial.Out(boot.DebugExit, "\x00")
	trial.Halt()
	fd, err := unix.MemfdCreate("trial", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	image := os.NewFile(uintptr(fd), "trial")
	defer image.Close()
	if _, err := image.Write(trial.Bytes()); err != nil {
		return err
	}
	c := &monitor.Config{Image: image, Boot: boot.Config{CPUs: 1, Memory: 16 << 20}, Machine: monitor.Machine{Type: machineType}}
	vm, err := start(ctx, program, accel, c)
	if err != nil {
		return err
	}
	code, err := vm.supervise(ctx, c, nil, &monitor.Signals{}, func(string, ...any) {})
	if err == nil && code != trialExit {
		err = fmt.Errorf("it ended with %d", code)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("it did not end within %v", trialTimeout)
	}
	return err
}

// Probe implements [monitor.Monitor]: it starts a trial image on each machine
// type.
func (Monitor) Probe(ctx context.Context) (string, error) {
	program, err := find()
	if err != nil {
		return "", err
	}
	version, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	how, err := chooseAccel(ctx, "")
	if err != nil {
		return "", err
	}
	for _, m := range MachineTypes {
		if err := try(ctx, program, m, how.accel); err != nil {
			return "", fmt.Errorf("machine type %s: %w", m, err)
		}
	}
	first, _, _ := strings.Cut(string(version), "\n")
	return fmt.Sprintf("%s; %s; %s", first, strings.Join(MachineTypes, ", "), how), nil
}
