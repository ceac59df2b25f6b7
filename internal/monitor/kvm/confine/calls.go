package confine

import (
	"slices"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/jail/seccomp"

	"golang.org/x/sys/unix"
)

// Constants of the kernel that package unix lacks.
const (
	mapDroppable     = 0x8 // MAP_DROPPABLE, linux/mman.h
	madvGuardInstall = 102 // MADV_GUARD_INSTALL

	punchHole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	zeroRange = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE

	// Requests that the VMM makes when a driver sets up the network card
	// (linux/vhost.h).
	vhostSetFeatures   = 0x4008af00
	vhostSetVringNum   = 0x4008af10
	vhostSetVringAddr  = 0x4028af11
	vhostSetVringBase  = 0x4008af12
	vhostSetVringKick  = 0x4008af20
	vhostSetVringCall  = 0x4008af21
	vhostNetSetBackend = 0x4008af30

	allBits = ^uint64(0)
)

// process returns the table of all threads, the most frequent calls first. It includes the
// calls of a kind of device only if the VM has such a device.
func process(b *bounds) []jail.Call {
	permit := jail.Permit
	table := []jail.Call{
		permit(unix.SYS_IOCTL, "ioctl", "a vCPU runs; after a crash, its registers are reported",
			jail.Where("fd is a vCPU, request is KVM_RUN, KVM_GET_REGS or KVM_GET_SREGS",
				among(0, b.VCPUs), requests(kvm.Run, kvm.GetRegs, kvm.GetSregs))),
		permit(unix.SYS_FUTEX, "futex", "threads wait for and wake each other", jail.PrivateFutex),
		permit(unix.SYS_READ, "read", "notifications from the guest, standard input, messages from the parent, connections",
			jail.Where("fd is an event, an input, a socket or a connection",
				among(0, b.events, b.Inputs, b.Sockets, b.connections))),
		permit(unix.SYS_WRITE, "write", "interrupts to the guest, standard output and error, messages to the parent, connections",
			jail.Where("fd is an event, an output, a socket or a connection",
				among(0, b.events, b.Outputs, b.Sockets, b.connections))),
		permit(unix.SYS_EPOLL_PWAIT, "epoll_pwait", "the runtime waits for events, sockets and connections", b.waiting()),
		permit(unix.SYS_PPOLL, "ppoll", "a device waits for its input",
			jail.Where("sigmask is null", seccomp.Equal(3, allBits, 0))),
		permit(unix.SYS_SENDMSG, "sendmsg", "the parent gets descriptors of the memory and of events", sockets(b)),
		permit(unix.SYS_WRITEV, "writev", "requests for folders of the host go to the parent", sockets(b)),
		permit(unix.SYS_RECVMSG, "recvmsg", "answers from the parent, connections that the parent has made", sockets(b)),
	}
	if len(b.Disks)+len(b.ReadOnlyDisks) > 0 {
		table = append(table,
			permit(unix.SYS_PREADV, "preadv", "disks are read",
				jail.Where("fd is a disk", among(0, b.Disks, b.ReadOnlyDisks))))
	}
	if len(b.Disks) > 0 {
		table = append(table,
			permit(unix.SYS_PWRITEV, "pwritev", "disks are written", disks(b)),
			permit(unix.SYS_FDATASYNC, "fdatasync", "written data reach the disk", disks(b)),
			permit(unix.SYS_FALLOCATE, "fallocate", "the guest discards or zeroes a range of a disk",
				jail.Where("fd is a writable disk, mode is PUNCH_HOLE or ZERO_RANGE with KEEP_SIZE",
					among(0, b.Disks), seccomp.In(1, seccomp.One(punchHole), seccomp.One(zeroRange)))))
	}
	if b.Memory >= 0 {
		table = append(table,
			permit(unix.SYS_FALLOCATE, "fallocate", "memory that the guest does not use goes back to the host",
				jail.Where("fd is the guest's memory, mode is PUNCH_HOLE with KEEP_SIZE",
					among(0, list{b.Memory}), seccomp.In(1, seccomp.One(punchHole)))))
	}
	table = append(table,
		permit(unix.SYS_IOCTL, "ioctl", "the driver of a device chooses its interrupts",
			jail.Where("fd is the VM, request is KVM_SET_GSI_ROUTING or KVM_IRQFD",
				among(0, list{b.VM}), requests(kvm.SetGSIRouting, kvm.AssignIRQFD))))
	if b.VhostNet >= 0 {
		table = append(table,
			permit(unix.SYS_IOCTL, "ioctl", "the driver of the network card sets its queues up",
				jail.Where("fd is vhost-net, request is VHOST_SET_FEATURES, VHOST_SET_VRING_NUM, _ADDR, _BASE, _KICK, _CALL or VHOST_NET_SET_BACKEND",
					among(0, list{b.VhostNet}), requests(vhostSetFeatures, vhostSetVringNum, vhostSetVringAddr,
						vhostSetVringBase, vhostSetVringKick, vhostSetVringCall, vhostNetSetBackend))))
	}
	if b.Tap >= 0 {
		table = append(table,
			permit(unix.SYS_IOCTL, "ioctl", "the driver of the network card chooses its offloads",
				jail.Where("fd is the interface, request is TUNSETOFFLOAD",
					among(0, list{b.Tap}), requests(unix.TUNSETOFFLOAD))))
	}
	if b.Listener >= 0 {
		table = append(table,
			permit(unix.SYS_ACCEPT4, "accept4", "connections to the VM's vsock device",
				jail.Where("sockfd is the device's socket, flags are SOCK_NONBLOCK and SOCK_CLOEXEC",
					among(0, list{b.Listener}), seccomp.In(3, seccomp.One(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)))),
			permit(unix.SYS_READV, "readv", "data from connections", connections(b)),
			permit(unix.SYS_WRITEV, "writev", "data to connections", connections(b)),
			permit(unix.SYS_SENDMSG, "sendmsg", "data to connections", connections(b)),
			permit(unix.SYS_RECVMSG, "recvmsg", "data from connections", connections(b)))
	}
	return append(table,
		permit(unix.SYS_SHUTDOWN, "shutdown", "one direction of a connection ends",
			jail.Where("sockfd is a socket or a connection", among(0, b.Sockets, b.connections))),
		permit(unix.SYS_EPOLL_CTL, "epoll_ctl", "the runtime's poller adds and removes descriptors",
			jail.Where("epfd is the runtime's", among(0, b.pollers))),
		permit(unix.SYS_CLOSE, "close", "descriptors are closed", jail.AnyArguments),
		permit(unix.SYS_GETRANDOM, "getrandom", "entropy for the guest", jail.AnyArguments),
		permit(unix.SYS_MMAP, "mmap", "memory for the heap, stacks and the runtime's tables", jail.PrivateMemory),
		permit(unix.SYS_MMAP, "mmap", "the state of getrandom in the vDSO",
			jail.Where("prot is PROT_READ and PROT_WRITE, flags are MAP_ANONYMOUS and MAP_DROPPABLE",
				seccomp.Equal(2, allBits, unix.PROT_READ|unix.PROT_WRITE),
				seccomp.Equal(3, allBits, unix.MAP_ANONYMOUS|mapDroppable))),
		permit(unix.SYS_MUNMAP, "munmap", "memory is freed", jail.AnyArguments),
		permit(unix.SYS_MPROTECT, "mprotect", "guard pages", jail.NotExecutable),
		permit(unix.SYS_MADVISE, "madvise", "the garbage collector gives memory back and asks for large pages", jail.Advice),
		permit(unix.SYS_MADVISE, "madvise", "memory that the guest does not use goes back to the host; guard pages",
			jail.Where("advice is REMOVE or GUARD_INSTALL",
				seccomp.In(2, seccomp.One(unix.MADV_REMOVE), seccomp.One(madvGuardInstall)))),
		permit(unix.SYS_CLONE, "clone", "a new thread", jail.NewThread),
		permit(unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask", "a thread blocks signals while it starts another", jail.AnyArguments),
		permit(unix.SYS_SIGALTSTACK, "sigaltstack", "signal handlers run on their own stack", jail.AnyArguments),
		permit(unix.SYS_RT_SIGACTION, "rt_sigaction", "the runtime handles faults and preemption", jail.AnyArguments),
		permit(unix.SYS_RT_SIGRETURN, "rt_sigreturn", "a signal handler returns", jail.AnyArguments),
		permit(unix.SYS_GETPID, "getpid", "the scheduler preempts a goroutine that does not yield", jail.AnyArguments),
		permit(unix.SYS_GETTID, "gettid", "a new thread learns its id", jail.AnyArguments),
		permit(unix.SYS_TGKILL, "tgkill", "the scheduler preempts a goroutine that does not yield", b.toItself()),
		permit(unix.SYS_SCHED_YIELD, "sched_yield", "a thread that spins for a lock lets others run", jail.AnyArguments),
		permit(unix.SYS_NANOSLEEP, "nanosleep", "the runtime's monitor sleeps", jail.AnyArguments),
		permit(unix.SYS_CLOCK_GETTIME, "clock_gettime", "the time, if the vDSO cannot read the host's clock", jail.AnyArguments),
		permit(unix.SYS_SECCOMP, "seccomp", "a vCPU's thread confines itself further",
			jail.Where("operation is SECCOMP_SET_MODE_FILTER, flags are 0",
				seccomp.In(0, seccomp.One(unix.SECCOMP_SET_MODE_FILTER)), seccomp.Equal(1, allBits, 0))),
		permit(unix.SYS_EXIT, "exit", "a thread ends", jail.AnyArguments),
		permit(unix.SYS_EXIT_GROUP, "exit_group", "the VM ends", jail.AnyArguments),
	)
}

// withC returns the calls that threads also need if the program was built with cgo. The C
// library makes them.
func withC() []jail.Call {
	permit := jail.Permit
	return []jail.Call{
		permit(unix.SYS_CLONE, "clone", "a new thread of the C library, if pith was built with cgo",
			jail.Where("flags are the flags of a Go thread, CLONE_SETTLS, CLONE_PARENT_SETTID and CLONE_CHILD_CLEARTID",
				seccomp.Equal(0, allBits, jail.ThreadFlags|unix.CLONE_SETTLS|unix.CLONE_PARENT_SETTID|unix.CLONE_CHILD_CLEARTID))),
		permit(unix.SYS_SET_ROBUST_LIST, "set_robust_list", "the same", jail.AnyArguments),
		permit(unix.SYS_RSEQ, "rseq", "the same", jail.AnyArguments),
		permit(unix.SYS_BRK, "brk", "the same", jail.AnyArguments),
	}
}

// vcpu returns the table of a vCPU's thread. It is a subset of the process's table. A thread
// that is bound to a goroutine starts no threads and does not poll.
func vcpu(b *bounds, fd int) []jail.Call {
	permit := jail.Permit
	return []jail.Call{
		permit(unix.SYS_IOCTL, "ioctl", "the vCPU runs; after a crash, its registers are reported",
			jail.Where("fd is the vCPU, request is KVM_RUN, KVM_GET_REGS or KVM_GET_SREGS",
				among(0, list{fd}), requests(kvm.Run, kvm.GetRegs, kvm.GetSregs))),
		permit(unix.SYS_FUTEX, "futex", "the thread waits for and wakes others", jail.PrivateFutex),
		permit(unix.SYS_WRITE, "write", "events, output that an image writes without a driver, the runtime's report of a crash",
			jail.Where("fd is an event or an output", among(0, b.events, b.Outputs))),
		permit(unix.SYS_EPOLL_PWAIT, "epoll_pwait", "the runtime polls after a garbage collection", b.waiting()),
		permit(unix.SYS_SCHED_YIELD, "sched_yield", "the thread spins for a lock", jail.AnyArguments),
		permit(unix.SYS_NANOSLEEP, "nanosleep", "the thread waits for a lock", jail.AnyArguments),
		permit(unix.SYS_MMAP, "mmap", "memory for the heap", jail.PrivateMemory),
		permit(unix.SYS_MUNMAP, "munmap", "memory is freed", jail.AnyArguments),
		permit(unix.SYS_MADVISE, "madvise", "memory is freed", jail.Advice),
		permit(unix.SYS_GETPID, "getpid", "the scheduler preempts another thread", jail.AnyArguments),
		permit(unix.SYS_TGKILL, "tgkill", "the scheduler preempts another thread", b.toItself()),
		permit(unix.SYS_RT_SIGRETURN, "rt_sigreturn", "the thread was preempted", jail.AnyArguments),
		permit(unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask", "the thread ends", jail.AnyArguments),
		permit(unix.SYS_SIGALTSTACK, "sigaltstack", "the thread ends", jail.AnyArguments),
		permit(unix.SYS_GETTID, "gettid", "the runtime ends itself by a signal", jail.AnyArguments),
		permit(unix.SYS_RT_SIGACTION, "rt_sigaction", "the runtime ends itself by a signal", jail.AnyArguments),
		permit(unix.SYS_CLOCK_GETTIME, "clock_gettime", "the time, if the vDSO cannot read the host's clock", jail.AnyArguments),
		permit(unix.SYS_EXIT, "exit", "the thread ends", jail.AnyArguments),
		permit(unix.SYS_EXIT_GROUP, "exit_group", "the VM ends", jail.AnyArguments),
	}
}

func (b *bounds) waiting() jail.Bound {
	return jail.Where("epfd is the runtime's, sigmask is null", among(0, b.pollers), seccomp.Equal(4, allBits, 0))
}

func (b *bounds) toItself() jail.Bound {
	return jail.Where("tgid is the process's own", seccomp.In(0, seccomp.One(uint32(b.pid))))
}

func sockets(b *bounds) jail.Bound {
	return jail.Where("sockfd is a socket of the parent", among(0, b.Sockets))
}

func connections(b *bounds) jail.Bound {
	return jail.Where("fd is a connection", among(0, b.connections))
}

func disks(b *bounds) jail.Bound {
	return jail.Where("fd is a writable disk", among(0, b.Disks))
}

// list is a list of descriptors.
type list = []int

// among returns a rule that holds if an argument is one of the descriptors.
func among(arg int, lists ...list) seccomp.Rule {
	all := slices.Concat(lists...)
	slices.Sort(all)
	var ranges []seccomp.Range
	for _, fd := range slices.Compact(all) {
		n := len(ranges)
		if n > 0 && ranges[n-1].Last+1 == uint32(fd) {
			ranges[n-1].Last++
			continue
		}
		ranges = append(ranges, seccomp.One(uint32(fd)))
	}
	return seccomp.In(arg, ranges...)
}

// requests returns a rule that holds if argument 1 is one of the numbers. The kernel treats
// this argument as an unsigned int.
func requests(numbers ...uint32) seccomp.Rule {
	ranges := make([]seccomp.Range, len(numbers))
	for i, n := range numbers {
		ranges[i] = seccomp.One(n)
	}
	return seccomp.In(1, ranges...)
}
