package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

// byHand starts QEMU as docs/running.md says, without pith run, and gives what
// the serial line or the debug console said, and QEMU's exit code.
func byHand(t *testing.T, image string, args ...string) (said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Timeout)
	defer cancel()
	args = append([]string{"-nodefaults", "-no-user-config", "-nographic", "-kernel", image}, args...)
	out, err := exec.CommandContext(ctx, "qemu-system-x86_64", args...).Output()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v, %q", args, errors.Join(ctx.Err(), err), out)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

// helloByHand is the image of the smallest example.
func helloByHand(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	lab, err := harness.NewLab()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	image, err := lab.Image(t.Context(), harness.Program{Package: "../../examples/hello"})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Without a monitor the console is the serial line, and the machine switches
// itself off.
func TestImageBootsByHand(t *testing.T) {
	image := helloByHand(t)
	for _, machine := range []string{"microvm", "q35"} {
		for _, cpus := range []string{"1", "4"} {
			t.Run(machine+"/"+cpus, func(t *testing.T) {
				said, code := byHand(t, image, "-M", machine, "-cpu", "max", "-smp", cpus, "-m", "64", "-serial", "stdio")
				if code != 0 || !strings.HasSuffix(strings.ReplaceAll(said, "\r", ""), " on "+cpus+" CPUs\n") {
					t.Errorf("%q, exit code %d", said, code)
				}
			})
		}
	}
}

// A machine that cannot run an image says why, and ends with a code of its own.
func TestMachinesThatCannotRunAnImage(t *testing.T) {
	image := helloByHand(t)
	for _, c := range []struct {
		name, says string
		code       int
		args       []string
	}{
		{"less memory than the image has", "too little memory", 125, []string{"-m", "6"}},
		{"less memory than it needs", "out of memory: give the instance more", 137, []string{"-m", "7"}},
		{"no 64-bit mode", "no 64-bit mode", 125, []string{"-cpu", "qemu32"}},
		{"no entropy", "no source of random numbers", 125, []string{"-cpu", "qemu64"}},
		{"a long command line", "command line is too long", 125, []string{"-append", "env=" + strings.Repeat("x", 70_000)}},
		{"an unknown parameter", "boot parameter colour: unknown", 125, []string{"-append", "colour=red"}},
		{"a device without driver", "has no driver here", 0, []string{"-global", "virtio-mmio.force-legacy=false", "-device", "virtio-keyboard-device"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"-M", "microvm", "-cpu", "max", "-m", "64",
				"-chardev", "stdio,id=text,signal=off", "-device", "isa-debugcon,iobase=0xe9,chardev=text",
				"-device", "isa-debug-exit,iobase=0xf4,iosize=4"}, c.args...)
			said, code := byHand(t, image, args...)
			// isa-debug-exit makes code<<1|1 of what it is given.
			if want := (c.code<<1 | 1) & 0xff; code != want || !strings.Contains(said, "pith: ") || !strings.Contains(said, c.says) {
				t.Errorf("%q, exit code %d instead of %d", said, code, want)
			}
		})
	}
}
