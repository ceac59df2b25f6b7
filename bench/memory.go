package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// memoryFigure: the resident memory of a server that has answered and is idle. It
// is the sum over the started process and all its descendants, so it includes the
// monitor. PSS is the kernel's proportional set size: several processes share a
// page, and it counts once among them. RSS counts the page for each process. The
// goal is about the larger one, RSS.
var memoryFigure = figure{
	name:    "memory",
	what:    "resident memory, net/http hello idle, monitor included",
	goal:    "at most 40 MB",
	measure: measureMemory,
}

const memoryLimit = 40 // MB

func measureMemory(b *bench) ([]line, error) {
	contestants := b.contestants("pith", "plain", "runc", "runsc")
	var pss []samples
	for _, c := range contestants {
		pss = append(pss, samples{who: c.Name})
	}
	rss, err := b.alternate(contestants, func(m harness.Monitor) (float64, error) {
		var now usage
		err := b.serve(m, netHello, func(i *harness.Instance) (err error) {
			res, err := http.Get("http://" + i.Addr("80"))
			if err != nil {
				return err
			}
			if err := res.Body.Close(); err != nil {
				return err
			}
			now, err = settled(i.PID())
			return err
		})
		for n := range pss {
			if pss[n].who == m.Name {
				pss[n].values = append(pss[n].values, now.pss)
			}
		}
		return now.rss, err
	})
	if err != nil {
		return nil, err
	}
	lines := []line{newLine("RSS", "MB", rss), newLine("PSS", "MB", pss)}
	for _, m := range harness.Monitors {
		if v, ok := lines[0].of(m.Name); ok && m.Image {
			lines[0].Ratios = append(lines[0].Ratios, ratio{digits(v) + " MB", v <= memoryLimit})
		}
	}
	return lines, nil
}

// usage is memory in MB.
type usage struct{ rss, pss float64 }

// settled waits until the memory of a process tree changes by less than 1 % in
// half a second, at most ten seconds, and returns it.
func settled(pid int) (usage, error) {
	last := usage{rss: math.Inf(1)}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		now, err := treeUsage(pid)
		if err != nil {
			return now, err
		}
		if math.Abs(now.rss-last.rss) < last.rss/100 {
			return now, nil
		}
		last = now
	}
	return last, nil
}

// treeUsage returns the memory of a process and its descendants.
func treeUsage(root int) (usage, error) {
	tree, err := descendants(root)
	if err != nil {
		return usage{}, err
	}
	var sum usage
	for _, pid := range tree {
		u, err := processUsage(pid)
		if err != nil {
			return usage{}, err
		}
		sum.rss += u.rss
		sum.pss += u.pss
	}
	return sum, nil
}

// descendants returns a process and all its descendants.
func descendants(root int) ([]int, error) {
	parents, err := parentOf()
	if err != nil {
		return nil, err
	}
	var tree []int
	for pid := range parents {
		for up := pid; up > 1; up = parents[up] {
			if up == root {
				tree = append(tree, pid)
				break
			}
		}
	}
	return tree, nil
}

// parentOf returns the parent of each process.
func parentOf() (map[int]int, error) {
	files, err := fs.Glob(os.DirFS("/proc"), "[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	parents := make(map[int]int)
	for _, f := range files {
		stat, err := os.ReadFile(filepath.Join("/proc", f))
		if err != nil {
			continue // the process has ended
		}
		// pid (name) state ppid; the name may hold anything (proc(5)).
		pid, _, _ := strings.Cut(string(stat), " ")
		rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		n, err1 := strconv.Atoi(pid)
		parent, err2 := strconv.Atoi(rest[1])
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("/proc/%s is %q", f, stat)
		}
		parents[n] = parent
	}
	return parents, nil
}

// processUsage reads /proc/PID/smaps_rollup (proc_pid_smaps(5)).
func processUsage(pid int) (u usage, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return u, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 3 || words[2] != "kB" {
			continue
		}
		kb, err := strconv.ParseFloat(words[1], 64)
		if err != nil {
			return u, err
		}
		switch words[0] {
		case "Rss:":
			u.rss = kb * 1024 / 1e6
		case "Pss:":
			u.pss = kb * 1024 / 1e6
		}
	}
	return u, lines.Err()
}
