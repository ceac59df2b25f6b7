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

// kvmManyFigure: what many instances of an idle program take that run side by
// side, all of one image: by how much the host's available memory is less, which
// has in it what the kernel holds for them; and the sum of their PSS, pith run's
// and the virtual machine monitor's. Measured once.
var kvmManyFigure = figure{
	name:    "kvm-many",
	what:    "our monitor on KVM: memory of 1,000 idle instances of one image",
	reach:   "under 12 GB",
	measure: measureKVMMany,
}

// manyLimit is for one of them, in MB.
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
	l := line{unit: "GB", medians: []named{{"available memory", (before - after) / 1000}, {"PSS", pss / 1000}}}
	each := max(before-after, pss) / float64(b.instances)
	l.ratios = append(l.ratios, ratio{fmt.Sprintf("%s MB each of %d", digits(each), b.instances), each < manyLimit})
	return []line{l}, nil
}

// available is the memory in MB that programs can still have.
func available() (float64, error) {
	text := field("/proc/meminfo", "MemAvailable")
	kb, err := strconv.ParseFloat(strings.TrimSuffix(text, " kB"), 64)
	if err != nil {
		return 0, fmt.Errorf("/proc/meminfo: MemAvailable: %w", err)
	}
	return kb * 1024 / 1e6, nil
}

// crowd is instances that run side by side.
type crowd struct {
	mu       sync.Mutex
	commands []*exec.Cmd
	outputs  []*os.File
	all      []int // processes, descendants included
}

// start starts instances of idle until they are b.instances, and waits until
// each says that it is.
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
	cmd.Stdin = nil // so that no goroutine serves it
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
		err = errors.New("it is not idle")
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

// end ends them all, and waits until none of their processes is there.
func (c *crowd) end() error {
	var errs []error
	for _, cmd := range c.commands {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
	}
	for _, cmd := range c.commands {
		// How it ended is known: by that signal.
		_ = cmd.Wait()
	}
	for _, out := range c.outputs {
		errs = append(errs, out.Close())
	}
	for _, pid := range c.all {
		errs = append(errs, repeat(func() error {
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %d goes on without its parent", pid)
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}
