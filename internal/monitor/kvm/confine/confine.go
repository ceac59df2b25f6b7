// Package confine limits the VMM to the system calls of two tables (calls.go). One is for all
// threads, and one for the vCPUs' threads. docs/security.md has a copy. The process has
// already started without privileges in a jail (package jail). Package kvm calls this package
// after it has made the VM and before the VM runs.
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

// Environment is the environment that the process must start with. It keeps the Go runtime
// from reading the limits of the host's cgroup and from naming its memory by prctl(2). It
// keeps the C library from reading the number of CPUs. The filter forbids all of that.
var Environment = []string{"GODEBUG=containermaxprocs=0,updatemaxprocs=0,decoratemappings=0", "MALLOC_ARENA_MAX=1"}

// Descriptors are the descriptors of a VM. For missing devices, lists are empty and single
// descriptors are -1. Confine finds events by itself. The process may only close any other
// open descriptor.
type Descriptors struct {
	VM    int
	VCPUs []int

	Inputs  []int // streams and terminals that the VMM reads
	Outputs []int // streams and terminals that the VMM writes
	Sockets []int // sockets to the parent, for messages and descriptors

	Disks, ReadOnlyDisks []int

	Memory   int // the file of the guest's memory, if the guest reports free pages
	VhostNet int
	Tap      int // the tap interface, if vhost-net moves its packets
	Listener int // the socket of the vsock device, which accepts connections
}

// None returns the descriptors of a VM without devices.
func None(vm int, vcpus []int) Descriptors {
	return Descriptors{VM: vm, VCPUs: vcpus, Memory: -1, VhostNet: -1, Tap: -1, Listener: -1}
}

// bounds has the values that the tables depend on.
type bounds struct {
	Descriptors
	pid         int
	events      []int // eventfds, including the runtime's
	pollers     []int // epoll instances: the runtime's
	connections []int // possible numbers of descriptors that the process opens from now on
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

// VCPU binds the calling goroutine to its thread and confines the thread further. The thread
// can then only run the vCPU with the descriptor fd. Another goroutine must do the other work
// that the vCPU's exits need.
func (p *Process) VCPU(fd int) error { return jail.ConfineThread(vcpu(&p.bounds, fd)) }

// look finds the open descriptors without /proc, which the process no longer has.
func (b *bounds) look() error {
	// The first use makes the runtime's poller, with its event.
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
		// The inode has no type. This is so for events and pollers, and also for
		// KVM's descriptors.
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

// polls reports whether fd is an epoll instance. For any other descriptor the kernel returns
// EINVAL (epoll_ctl(2)).
func polls(fd, known int) bool {
	var none unix.EpollEvent
	return !errors.Is(unix.EpollCtl(fd, unix.EPOLL_CTL_MOD, known, &none), unix.EINVAL)
}
