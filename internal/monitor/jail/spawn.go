// Package jail starts confined processes that can do almost nothing. A jail has its own
// namespaces, an empty root, an unprivileged user, no capabilities and resource limits. A
// filter (package seccomp) limits it to the system calls of a table. The package depends
// only on Linux. Package process runs images in a jail, and the VMM of package kvm runs in
// one.
//
// Capabilities, user and filter belong to a thread. So the monitor executes this program
// again as the jail. The jail drops everything on one thread and then executes the program
// that belongs in the jail. Each thread of that program begins without privileges.
package jail

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/pith-os/pith/internal/cgroup"

	"golang.org/x/sys/unix"
)

// Child describes another execution of this program.
type Child struct {
	Name   string // argument 0; the child recognises its role by it
	Args   []string
	Files  []int // its descriptors: index i becomes descriptor i
	Cgroup *cgroup.Cgroup
}

// environment configures the Go runtime of a jail. [Execution.Exec] relies on it: no other
// thread runs Go code, the runtime preempts no goroutine, and there is no garbage
// collection. The other settings save time: the runtime does not read the limits of the
// host's cgroup, and does not name its memory.
var environment = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1,containermaxprocs=0,decoratemappings=0"}

// Process is a started child. It keeps its process id until Reap, so that a signal never
// reaches another process.
type Process struct {
	Namespaces Namespaces
	PID        int
	Ended      <-chan struct{} // closed when the process has ended

	err error // error of waiting for the end; valid once Ended is closed
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
// (PR_SET_PDEATHSIG in prctl(2)). So the starting thread lives as long as the child. It
// ends earlier only if the monitor ends.
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

// AwaitEnd waits until a child of this process has ended. It does not release the child's
// process id.
func AwaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
