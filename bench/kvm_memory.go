package main

import (
	"bufio"
	"debug/elf"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pith-os/pith/conformance/harness"
)

// kvmMemoryFigure: the proportional set size (PSS) of pith run and of the VMM that
// it starts. The guest's memory is counted apart: the file that is its RAM, and the
// image with the zeros after its data. What the kernel holds for the processes is
// in neither. The programs are idle, after their first line or their first answer.
var kvmMemoryFigure = figure{
	name:    "kvm-memory",
	what:    "its own memory, over the guest's",
	goal:    "12 MB",
	measure: measureKVMMemory,
}

const ownLimit = 12 // MB

// idle is a program that prints a line and then does nothing.
var idle = harness.Program{Package: "./bench/programs/idle"}

func measureKVMMemory(b *bench) ([]line, error) {
	contestants, err := b.kvmContestants()
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, p := range []struct {
		label   string
		program harness.Program
		answer  func(*harness.Instance) error
	}{
		{"idle", idle, saysIdle},
		{"nethello", netHello, func(i *harness.Instance) error { return answersHTTP(i.Addr("80")) }},
	} {
		image, err := b.lab.Image(b.ctx, p.program)
		if err != nil {
			return nil, err
		}
		guest := samples{who: "guest"}
		all, err := b.alternate(contestants, func(m harness.Monitor) (mb float64, err error) {
			i, err := b.lab.Start(b.ctx, m, p.program)
			if err != nil {
				return 0, err
			}
			defer func() {
				if killErr := i.Kill(); err == nil {
					err = killErr
				}
			}()
			if err := i.Await(startTimeout, func() error { return p.answer(i) }); err != nil {
				return 0, fmt.Errorf("%w\n%s", err, i.Stderr())
			}
			if _, err := settled(i.PID()); err != nil {
				return 0, err
			}
			s, err := treeShares(i.PID(), image)
			guest.values = append(guest.values, s.guest)
			return s.own, err
		})
		if err != nil {
			return nil, err
		}
		l := newLine(p.label, "MB", append(all, guest))
		if v, ok := l.of(kvmMonitor); ok {
			l.Ratios = append(l.Ratios, ratio{digits(v) + " MB", v <= ownLimit})
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// saysIdle returns an error until an instance of idle has printed its line.
func saysIdle(i *harness.Instance) error {
	if out := i.Stdout(); out != "idle\n" {
		return fmt.Errorf("it has printed %q", out)
	}
	return nil
}

// shares are the guest's memory and the monitor's own, in MB.
type shares struct{ guest, own float64 }

// treeShares returns the memory of a process that runs image, and of its
// descendants.
func treeShares(root int, image string) (sum shares, err error) {
	size, err := loadedSize(image)
	if err != nil {
		return sum, err
	}
	if image, err = filepath.EvalSymlinks(image); err != nil {
		return sum, err
	}
	tree, err := descendants(root)
	if err != nil {
		return sum, err
	}
	for _, pid := range tree {
		maps, err := mappings(pid)
		if err != nil {
			return sum, err
		}
		var begin, end uint64 // of the image
		for _, m := range maps {
			if m.file == image && begin == 0 {
				begin, end = m.begin, m.begin+size
			}
		}
		for _, m := range maps {
			if strings.HasPrefix(m.file, "/memfd:memory") || begin <= m.begin && m.begin < end {
				sum.guest += m.pss
			} else {
				sum.own += m.pss
			}
		}
	}
	return sum, nil
}

// loadedSize returns how many bytes an image takes in memory, from the page of its
// first segment on.
func loadedSize(image string) (uint64, error) {
	f, err := elf.Open(image)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	first, last := uint64(math.MaxUint64), uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			first, last = min(first, p.Paddr), max(last, p.Paddr+p.Memsz)
		}
	}
	const page = 4096
	return last - first&^(page-1), nil
}

// mapping is a part of a process's memory.
type mapping struct {
	begin uint64
	file  string
	pss   float64 // MB
}

// mappings reads /proc/PID/smaps (proc_pid_smaps(5)).
func mappings(pid int) (list []mapping, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		// The first line of a mapping is that of proc_pid_maps(5): BEGIN-END access
		// offset device inode file. The other lines begin with a name and a colon.
		if begin, _, ok := strings.Cut(fields[0], "-"); ok && !strings.HasSuffix(fields[0], ":") {
			m := mapping{}
			if m.begin, err = strconv.ParseUint(begin, 16, 64); err != nil {
				return nil, fmt.Errorf("/proc/%d/smaps: %w", pid, err)
			}
			if len(fields) > 5 {
				m.file = strings.Join(fields[5:], " ")
			}
			list = append(list, m)
		}
		if fields[0] == "Pss:" && len(list) > 0 {
			kb, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/%d/smaps: %w", pid, err)
			}
			list[len(list)-1].pss = kb * 1024 / 1e6
		}
	}
	return list, lines.Err()
}
