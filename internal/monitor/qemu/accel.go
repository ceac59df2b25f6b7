package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/kvm/probe"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Accelerators.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// choice is an accelerator and the reason for choosing it.
type choice struct {
	accel, why string
}

func (c choice) String() string {
	if c.why == "" {
		return c.accel
	}
	return c.accel + " (" + c.why + ")"
}

// trialTimeout is the maximum duration of a trial, which normally takes far less.
const trialTimeout = 10 * time.Second

// chooseAccel returns the requested accelerator. By default, this is KVM if a trial shows that
// KVM runs code.
func chooseAccel(ctx context.Context, asked string) (choice, error) {
	if asked != "" {
		return choice{asked, ""}, nil
	}
	if err := TryKVM(ctx); err != nil {
		return choice{TCG, err.Error()}, ctx.Err()
	}
	return choice{KVM, ""}, nil
}

// errInterpreted means that KVM runs code, but lacks instructions that QEMU's VMs need.
var errInterpreted = errors.New("KVM interprets code at CPL 0 here, as it is itself virtualised, and does not know all instructions")

// TryKVM returns nil if QEMU can run VMs with KVM on this host, or else the reason. To open
// /dev/kvm is not enough to find out, and a trial with QEMU would take far longer.
func TryKVM(ctx context.Context) error {
	found, err := probe.Run(ctx)
	if err == nil && found.Interpreted {
		err = errInterpreted
	}
	return err
}

// trialExit is an exit code that only the trial image uses.
const trialExit = 42

// try runs the trial image, which has a few instructions.
func (m Monitor) try(ctx context.Context, machineType, accel string) error {
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
	code, err := instance.Run(ctx, &instance.Spec{
		Monitor: m, Image: image, CPUs: 1, Memory: 16 << 20,
		Machine: instance.Machine{Type: machineType, Accelerator: accel},
	})
	if err == nil && code != trialExit {
		err = fmt.Errorf("it ended with %d", code)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("it did not end within %v", trialTimeout)
	}
	return err
}

// Probe implements [instance.Monitor]. It runs a trial image on each machine type.
func (m Monitor) Probe(ctx context.Context) (string, error) {
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
	for _, t := range description.MachineTypes {
		if err := m.try(ctx, t, how.accel); err != nil {
			return "", fmt.Errorf("machine type %s: %w", t, err)
		}
	}
	first, _, _ := strings.Cut(string(version), "\n")
	return fmt.Sprintf("%s; %s; %s", first, strings.Join(description.MachineTypes, ", "), how), nil
}
