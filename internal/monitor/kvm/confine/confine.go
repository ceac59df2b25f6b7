// Package confine has the virtual machine monitor make no system call but those
// of its tables (calls.go), of which docs/security.md has a copy: one table for
// all threads, and one for those that run the guest's CPUs. It stands on package
// jail, in which the process began without a privilege; package kvm calls it
// when the machine is made and before it runs.
package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/monitor/jail"

	"golang.org/x/sys/unix"
)

// Environment has the Go runtime not read what the host's cgroup allows, nor
// name its memory by prctl(2), and the C library not read how many CPUs there
// are: they could not. The process is to begin with it.
var Environment = []string{"GODEBUG=containermaxprocs=0,updatemaxprocs=0,decoratemappings=0", "MALLOC_ARENA_MAX=1"}

// Descriptors are those that a machine stands on. Of devices that it has not,
// lists are empty and single ones -1. What is open and not among them may be
// closed, unless it is an event, which is known by itself.
type Descriptors struct {
	VM    int
	VCPUs []int

	Inputs  []int // streams and terminals that are read
	Outputs []int // such that are written
	Sockets []int // to the parent: for messages, and descriptors with them

	Disks, ReadOnlyDisks []int

	Memory   int // the file of the guest's memory, if it gives some back
	VhostNet int
	Tap      int // the interface that vhost-net moves packets of
	Listener int // the socket of the vsock device; connections are made from then on
}

// None are the descriptors of a machine without devices.
func None(vm int, vcpus []int) Descriptors {
	return Descriptors{VM: vm, VCPUs: vcpus, Memory: -1, VhostNet: -1, Tap: -1, Listener: -1}
}

// bounds are what the tables depend on.
type bounds struct {
	Descriptors
	pid         int
	events      []int // eventfds, the runtime's among them
	pollers     []int // epoll instances: the runtime's
	connections []int // numbers that descriptors may get that are made from now on
}

// Process is a confined process.
type Process struct{ bounds }

// Confine confines all threads of this process, present and future.
func Confine(d Descriptors) (*Process, error) {
	p := &Process{bounds{Descriptors: d, pid: os.Getpid()}}
	if err := p.look(); err != nil {
		return nil, fmt.Errorf("look at the open descriptors: %w", err)
	}
	return p, jail.ConfineProcess(append(process(&p.bounds), withC()...))
}

// VCPU binds the calling goroutine to its thread and confines that to running
// the CPU with the descriptor fd. What else the CPU's exits ask for, another
// goroutine is to do.
func (p *Process) VCPU(fd int) error { return jail.ConfineThread(vcpu(&p.bounds, fd)) }

// look finds out what is open. There is no /proc any more.
func (b *bounds) look() error {
	// The runtime's poller is there, with its event, from the first use on.
	trial, err := event.New()
	if err != nil {
		return err
	}
	defer trial.Close()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	fds := make([]unix.PollFd, limit.Cur)
	for i := range fds {
		fds[i].Fd = int32(i)
	}
	if _, err := unix.Poll(fds, 0); err != nil {
		return os.NewSyscallError("poll", err)
	}
	named := slices.Concat(list{b.VM}, b.VCPUs, b.Inputs, b.Outputs, b.Sockets, b.Disks, b.ReadOnlyDisks,
		list{b.Memory, b.VhostNet, b.Tap, b.Listener, trial.FD()})
	for fd, p := range fds {
		if p.Revents&unix.POLLNVAL != 0 || fd == trial.FD() {
			if b.Listener >= 0 {
				b.connections = append(b.connections, fd)
			}
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		if slices.Contains(named, fd) || st.Mode&unix.S_IFMT != 0 {
			continue
		}
		// An inode without a type: of events, pollers, and of KVM's that
		// have a name.
		if polls(fd, trial.FD()) {
			b.pollers = append(b.pollers, fd)
		} else {
			b.events = append(b.events, fd)
		}
	}
	if len(b.pollers) == 0 {
		return errors.New("the runtime's poller is not among them")
	}
	return nil
}

// polls says whether fd is an epoll instance. Whatever else refuses to look at a
// descriptor with EINVAL (epoll_ctl(2)).
func polls(fd, known int) bool {
	var none unix.EpollEvent
	return !errors.Is(unix.EpollCtl(fd, unix.EPOLL_CTL_MOD, known, &none), unix.EINVAL)
}
