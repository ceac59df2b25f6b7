package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/pith-os/pith/bench/linuxguest"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

// fact is something about the host that the measurements depend on.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// hostFacts describes the host and the programs that are compared.
func hostFacts(ctx context.Context) []fact {
	var u syscall.Utsname
	kernel := "unknown"
	if err := syscall.Uname(&u); err == nil {
		kernel = text(u.Release[:])
	}
	facts := []fact{
		{"CPU", fmt.Sprintf("%s, %d of them%s", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), virtual())},
		{"memory", field("/proc/meminfo", "MemTotal")},
		{"kernel", "Linux " + kernel},
	}
	for _, tool := range [][]string{
		{"go", "version"},
		{"git", "describe", "--always", "--dirty"},
		{"runc", "--version"}, {"runsc", "--version"}, {"wrk", "--version"}, {qemu.Program, "--version"},
	} {
		name := tool[0]
		if name == "git" {
			name = "pith"
		}
		facts = append(facts, fact{name, version(ctx, tool)})
	}
	guest := "none"
	if k, err := linuxguest.Fetch(ctx); err == nil {
		guest = k.Version
	}
	return append(facts,
		fact{"KVM", kvmHost()},
		fact{"virtual machines", fmt.Sprintf("%s by %s, one CPU, %d MB; the Linux guest is Debian's %s", qemu.Microvm, accel(), guestMemory, guest)})
}

// version returns the first line that a command prints. The exit code does not
// count: wrk prints its version and then fails.
func version(ctx context.Context, argv []string) string {
	if _, err := exec.LookPath(argv[0]); err != nil {
		return "not installed"
	}
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	first, _, _ := strings.Cut(string(out), "\n")
	if first == "" && err != nil {
		return err.Error()
	}
	first = strings.TrimPrefix(first, argv[0]+" ")
	first, _, _ = strings.Cut(strings.TrimPrefix(first, "version "), " [")
	return first
}

// field returns the value of the first line "NAME : VALUE" in a file of /proc.
func field(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// virtual returns a remark when the host is itself a virtual machine.
func virtual() string {
	if strings.Contains(field("/proc/cpuinfo", "flags"), " hypervisor") {
		return ", in a virtual machine"
	}
	return ""
}

// text returns a field of struct utsname.
func text(field []int8) string {
	var b strings.Builder
	for _, c := range field {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}
