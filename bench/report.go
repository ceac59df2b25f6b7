package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/pith-os/pith/bench/linuxguest"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

// The report, and the notes in it: a line NAME: TEXT for each figure.
const (
	reportFile = "docs/benchmarks.md"
	notesFile  = "bench/notes.txt"
)

func writeReport(ctx context.Context, results []result, rounds int) error {
	notes, err := readNotes()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

Made by `+"`go run ./bench -write`"+` on %s; do not edit. The notes come from
%s. Figures are medians of %d rounds or more, measured in one run by
turns; how each is measured stands at the head of its file in bench/. runc and
runsc run the plain binary with the host's network, which favours them.

%s
| what | reach | got | ratio | notes |
|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), notesFile, rounds, machine(ctx))
	for _, r := range results {
		var got, verdicts []string
		for _, l := range r.lines {
			got = append(got, l.got())
			if v := l.verdict(); v != "" {
				verdicts = append(verdicts, v)
			}
		}
		if r.err != nil {
			first, _, _ := strings.Cut(r.err.Error(), "\n")
			got = append(got, "not measured: "+first)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.what, r.reachHere(),
			strings.Join(got, "<br>"), strings.Join(verdicts, "<br>"), notes[r.name])
	}
	return os.WriteFile(reportFile, []byte(b.String()), 0o644)
}

func readNotes() (map[string]string, error) {
	data, err := os.ReadFile(notesFile)
	if err != nil {
		return nil, err
	}
	notes := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, text, ok := strings.Cut(line, ": ")
		known := false
		for _, f := range figures {
			known = known || f.name == name
		}
		if !ok || !known {
			return nil, fmt.Errorf("%s: %q does not begin with a figure's name", notesFile, line)
		}
		notes[name] = text
	}
	return notes, nil
}

// machine describes what the figures were measured on.
func machine(ctx context.Context) string {
	var u syscall.Utsname
	kernel := "unknown"
	if err := syscall.Uname(&u); err == nil {
		kernel = text(u.Release[:])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "- CPU: %s, %d of them%s\n", field("/proc/cpuinfo", "model name"), runtime.NumCPU(), virtual())
	fmt.Fprintf(&b, "- memory: %s\n- kernel: Linux %s\n", field("/proc/meminfo", "MemTotal"), kernel)
	for _, tool := range [][]string{
		{"go", "version"},
		{"git", "describe", "--always", "--dirty"},
		{"runc", "--version"}, {"runsc", "--version"}, {"wrk", "--version"}, {qemu.Program, "--version"},
	} {
		name := tool[0]
		if name == "git" {
			name = "pith"
		}
		fmt.Fprintf(&b, "- %s: %s\n", name, version(ctx, tool))
	}
	fmt.Fprintf(&b, "- KVM: %s\n", kvmHost())
	guest := "none"
	if k, err := linuxguest.Fetch(ctx); err == nil {
		guest = k.Version
	}
	fmt.Fprintf(&b, "- virtual machines: %s by %s, one CPU, %d MB; the Linux guest is Debian's %s\n", qemu.Microvm, accel(), guestMemory, guest)
	return b.String()
}

// version is the first line that a command prints; some, as wrk, end with an
// error after it.
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

// field is the value of the first line "NAME : VALUE" of a file below /proc.
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

// virtual says whether the machine is itself a virtual one.
func virtual() string {
	if strings.Contains(field("/proc/cpuinfo", "flags"), " hypervisor") {
		return ", in a virtual machine"
	}
	return ""
}

// text is a field of struct utsname.
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
