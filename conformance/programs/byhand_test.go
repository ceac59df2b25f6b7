package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/libos/boot"
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

// The boot parameters go on in a module, which is a file of any lines.
func TestBootParametersInAFile(t *testing.T) {
	image := helloByHand(t)
	const first, last = "env=LONG=", "\ncpus=1\n"
	for _, machine := range []string{"microvm", "q35"} {
		for _, memory := range []string{"16", "64"} {
			for name, text := range map[string]string{
				"a word":             "cpus=1",
				"as long as may be":  first + strings.Repeat("x", boot.MaxLine-len("env=A=b"+" "+first+last)) + last,
				"nothing but spaces": "\n \t",
			} {
				t.Run(machine+"/"+memory+"/"+name, func(t *testing.T) {
					want := " on 1 CPUs\n"
					if strings.TrimSpace(text) == "" {
						want = " on 2 CPUs\n"
					}
					said, code := byHand(t, image, "-M", machine, "-cpu", "max", "-smp", "2", "-m", memory, "-serial", "stdio",
						"-append", "env=A=b", "-initrd", module(t, text))
					if code != 0 || !strings.HasSuffix(strings.ReplaceAll(said, "\r", ""), want) {
						t.Errorf("%q, exit code %d", said, code)
					}
				})
			}
		}
	}
}

// module is a file with text.
func module(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "module")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
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
		{"an unknown parameter", `boot parameter "colour": unknown`, 125, []string{"-append", "colour=red"}},
		{"a module too long", "boot parameters are too long: at most 1048575 bytes", 125, []string{"-initrd", module(t, "env="+strings.Repeat("x", 1<<20))}},
		{"a module for another kernel", `boot parameter "\x1f\x8b\b\x00\x00" has no value`, 125, []string{"-initrd", module(t, "\x1f\x8b\x08\x00\x00")}},
		{"a module that is no text", "…", 125, []string{"-initrd", module(t, strings.Repeat("\x00", 1000))}},
		{"a null byte in a module", `boot parameter "env": contains a null byte`, 125, []string{"-initrd", module(t, "env=A=b\x00c")}},
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
