// Package jail starts processes that can do almost nothing, and has the steps by
// which a process becomes one: namespaces, an empty root, an unprivileged user,
// no capability, limits, and a filter of system calls by table (package
// seccomp). It stands on Linux alone. Package process runs images in a jail, and
// the VMM of package kvm is in one itself.
//
// Capabilities, user and filter belong to a thread. So this program is executed
// again as the jail. The jail gives everything up on one thread and then executes
// the program that belongs in the jail. Each thread of that program begins
// without privileges.
package jail

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/pith-os/pith/internal/cgroup"

	"golang.org/x/sys/unix"
)

// Child is this program, to be executed again.
type Child struct {
	Name   string // argument 0, by which it knows what it is
	Args   []string
	Files  []int // its descriptors, by number
	Cgroup *cgroup.Cgroup
}

// environment has the Go runtime of a jail do what [Execution.Exec] relies on: no
// other thread runs Go code, no goroutine is preempted, no garbage is collected.
// The rest saves time: the runtime does not read the limits of the host's cgroup,
// and gives memory no names.
var environment = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1,containermaxprocs=0,decoratemappings=0"}

// Process is a started child. Its process id stays its own until Reap, so that
// a signal never meets another process.
type Process struct {
	Namespaces Namespaces
	PID        int
	Ended      <-chan struct{} // closed when the process has ended

	err error // of the wait for the end; valid once Ended is closed
}

// Signal sends sig. It is no error if the process has ended already.
func (p *Process) Signal(sig unix.Signal) { _ = unix.Kill(p.PID, sig) }

// Reap releases the process id of a process that has ended and returns how it
// ended.
func (p *Process) Reap() (status unix.WaitStatus, err error) {
	<-p.Ended
	_, err = unix.Wait4(p.PID, &status, 0, nil)
	return status, errors.Join(p.err, err)
}

// Kill ends the process, if it has not ended, and releases its id.
func (p *Process) Kill() error {
	p.Signal(unix.SIGKILL)
	_, err := p.Reap()
	return err
}

// Spawn executes this program again, in as many namespaces as the host allows.
//
// The kernel kills the child when the thread that started it ends
// (PR_SET_PDEATHSIG in prctl(2)). So a thread starts it that lives as long as the
// child, and ends early only if the monitor ends, in whatever way.
func Spawn(c Child, id Identity) (*Process, error) {
	type result struct {
		p   *Process
		err error
	}
	started := make(chan result)
	cgroup.Thread(func() {
		p, err := fork(c, id)
		if err != nil {
			started <- result{nil, err}
			return
		}
		ended := make(chan struct{})
		p.Ended = ended
		started <- result{p, nil}
		p.err = AwaitEnd(p.PID)
		close(ended)
	})
	r := <-started
	return r.p, r.err
}

func fork(c Child, id Identity) (*Process, error) {
	files := make([]uintptr, len(c.Files))
	for i, fd := range c.Files {
		files[i] = uintptr(fd)
	}
	argv := append([]string{c.Name}, c.Args...)
	var err error
	for _, set := range attempts() {
		attr := id.attributes(set)
		if err := c.Cgroup.Place(attr); err != nil {
			return nil, err
		}
		var pid int
		pid, _, err = syscall.StartProcess("/proc/self/exe", argv,
			&syscall.ProcAttr{Files: files, Env: environment, Sys: attr})
		if err == nil {
			return &Process{Namespaces: set, PID: pid}, nil
		}
		if !refused(err) {
			break
		}
	}
	if c.Cgroup != nil {
		err = fmt.Errorf("%w (in cgroup %s)", err, c.Cgroup)
	}
	return nil, err
}

// AwaitEnd waits until a child of this process has ended, and does not release
// its process id.
func AwaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
