package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pith-os/pith/conformance/harness"

	"golang.org/x/sys/unix"
)

// kvmManyFigure: the memory of many instances of one image, which run side by side
// and are idle. The first line is by how much the host's available memory shrinks;
// it includes what the kernel holds for the instances. The second is the sum of the
// PSS of pith run and of the VMM. The goal is about the larger one. Measured once.
var kvmManyFigure = figure{
	name:    "kvm-many",
	what:    "memory of 1,000 idle instances of one image",
	goal:    "under 12 GB",
	measure: measureKVMMany,
}

// manyLimit is the goal for one instance, in MB.
const manyLimit = 12

func measureKVMMany(b *bench) (_ []line, err error) {
	contestants, err := b.kvmContestants()
	if err != nil {
		return nil, err
	}
	m := contestants[0]
	if _, err := b.lab.Image(b.ctx, idle); err != nil {
		return nil, err
	}
	before, err := available()
	if err != nil {
		return nil, err
	}
	var c crowd
	defer func() { err = errors.Join(err, c.end()) }()
	if err := c.start(b, m); err != nil {
		return nil, err
	}
	pss, err := c.usage()
	if err != nil {
		return nil, err
	}
	after, err := available()
	if err != nil {
		return nil, err
	}
	each := max(before-after, pss) / float64(b.instances)
	return []line{
		{
			Label: "available memory", Unit: "GB", Medians: []value{{m.Name, (before - after) / 1000}},
			Ratios: []ratio{{fmt.Sprintf("%s MB each of %d", digits(each), b.instances), each < manyLimit}},
		},
		{Label: "PSS", Unit: "GB", Medians: []value{{m.Name, pss / 1000}}},
	}, nil
}

// available returns the memory that programs can still have, in MB.
func available() (float64, error) {
	text := field("/proc/meminfo", "MemAvailable")
	kb, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/meminfo: MemAvailable: %w", err)
	}
	return kb * 1024 / 1e6, nil
}

// crowd is a number of instances that run side by side.
type crowd struct {
	mu       sync.Mutex
	commands []*exec.Cmd
	outputs  []*os.File
	all      []int // processes, descendants included
}

// start starts b.instances instances of idle, and waits until each has printed its
// line.
func (c *crowd) start(b *bench, m harness.Monitor) error {
	turns := make(chan struct{}, b.instances)
	for range b.instances {
		turns <- struct{}{}
	}
	close(turns)
	return side(2*runtime.NumCPU(), func() error {
		for range turns {
			if err := c.startOne(b, m); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *crowd) startOne(b *bench, m harness.Monitor) error {
	cmd, _, err := b.lab.Command(b.ctx, m, idle)
	if err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	cmd.Stdout, cmd.Stderr = in, in
	cmd.Stdin = nil // then no goroutine serves it
	err = cmd.Start()
	c.mu.Lock()
	c.outputs = append(c.outputs, out)
	if err == nil {
		c.commands = append(c.commands, cmd)
	}
	number := len(c.commands)
	c.mu.Unlock()
	if err == nil {
		err = out.SetReadDeadline(time.Now().Add(startTimeout))
	}
	if err != nil {
		return err
	}
	text, err := bufio.NewReader(out).ReadString('\n')
	if err == nil && text != "idle\n" {
		err = errors.New("want idle")
	}
	if err != nil {
		return fmt.Errorf("instance %d printed %q: %w", number, text, err)
	}
	return nil
}

// usage is the instances' PSS in MB.
func (c *crowd) usage() (mb float64, err error) {
	tree, err := descendants(os.Getpid())
	if err != nil {
		return 0, err
	}
	for _, pid := range tree {
		if pid == os.Getpid() {
			continue
		}
		c.all = append(c.all, pid)
		u, err := processUsage(pid)
		if err != nil {
			return 0, err
		}
		mb += u.pss
	}
	return mb, nil
}

// end ends all instances, and waits until all their processes are gone.
func (c *crowd) end() error {
	var errs []error
	for _, cmd := range c.commands {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	for _, cmd := range c.commands {
		// That signal ended it.
		_ = cmd.Wait()
	}
	for _, out := range c.outputs {
		errs = append(errs, out.Close())
	}
	for _, pid := range c.all {
		errs = append(errs, repeat(func() error {
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %d still runs without its parent", pid)
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}
