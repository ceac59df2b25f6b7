package kvm

import (
	"cmp"
	"debug/elf"
	"debug/gosym"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/libos/boot"
)

var (
	profiled = flag.String("profile-image", "", "image of which TestInstructionsOfTheStart counts the first instructions, by function")
	steps    = flag.Int("profile-steps", 20000, "how many")
)

// TestInstructionsOfTheStart is a tool that counts the nucleus's first instructions by
// function. If KVM interprets code at CPL 0, each of them costs at least a third of a
// microsecond.
//
//	go test ./internal/monitor/kvm -run InstructionsOfTheStart -v -profile-image hello.pith
func TestInstructionsOfTheStart(t *testing.T) {
	if *profiled == "" {
		t.Skip("this test is a tool: name an image with -profile-image")
	}
	device, err := kvm.Open()
	if err != nil {
		t.Fatal(err)
	}
	sys, err := kvm.New(int(device.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.Open(*profiled)
	if err != nil {
		t.Fatal(err)
	}
	names := functionsOf(t, image)
	mem, err := newMemory(256<<20, image, false)
	if err != nil {
		t.Fatal(err)
	}
	start, err := entry(image)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMachine(sys, mem, 1, os.Stderr, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	line := boot.Config{PID: 1, CPUs: 1, Args: []string{"profiled"}, Clock: boot.Clock{Time: 1}}.String()
	if err := mem.writeStart(line); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := m.cpus[0]
	if err := c.Begin(start, startInfoAddr); err != nil {
		t.Fatal(err)
	}
	if err := c.SingleStep(); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for taken := 0; taken < *steps; {
		reason, err := c.Run()
		if err == nil && reason != kvm.ExitDebug {
			err = c.handle(reason)
		}
		if err != nil {
			t.Log(err)
			break
		}
		if reason != kvm.ExitDebug {
			continue
		}
		taken++
		r, err := c.Regs()
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Sregs()
		if err != nil {
			t.Fatal(err)
		}
		level := s.CS.Selector & 3
		const alias = 1 << 31 // the nucleus runs in the image's upper alias
		counts[fmt.Sprintf("CPL %d  %s", level, names(r.RIP&(alias-1)))]++
		counts[fmt.Sprintf("CPL %d  all", level)]++
	}
	byCount := func(a, b string) int { return cmp.Compare(counts[b], counts[a]) }
	var out strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(counts), byCount) {
		fmt.Fprintf(&out, "%8d  %s\n", counts[name], name)
	}
	t.Logf("instructions:\n%s", out.String())
}

// functionsOf gives names to addresses.
func functionsOf(t *testing.T, image *os.File) func(addr uint64) string {
	f, err := elf.NewFile(image)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := f.Section(".gopclntab").Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, f.Section(".text").Addr))
	if err != nil {
		t.Fatal(err)
	}
	return func(addr uint64) string {
		if fn := table.PCToFunc(addr); fn != nil {
			return fn.Name
		}
		return "?"
	}
}
