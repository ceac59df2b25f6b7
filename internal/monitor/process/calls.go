package process

import (
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/jail/seccomp"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// bounds has the values that the table depends on.
type bounds struct {
	pid       int  // the image's process id in its own namespace
	network   bool // the instance has a network card
	folders   bool // the instance has folders of the host
	sockets   bool // the instance has host sockets
	addresses bool // the image may send to any address: nothing is closed to it
	listeners int  // number of listening sockets
	// descriptors is RLIMIT_NOFILE of the image: all its descriptors are below.
	descriptors uint32
	exec        execCall
}

// execCall has the arguments of the only execveat(2), which starts the image.
type execCall struct {
	fd               int
	path, argv, envp uintptr
}

// maxDescriptors is the largest RLIMIT_NOFILE of an image.
const maxDescriptors = 1 << 16

const allBits = ^uint64(0)

// permitted returns the table, the most frequent calls first.
func permitted(b bounds) []jail.Call {
	permit := jail.Permit
	listeners := seccomp.Range{First: boot.FDListen, Last: uint32(boot.FDListen + b.listeners - 1)}
	connections := seccomp.Range{First: uint32(boot.FDListen + b.listeners), Last: b.descriptors - 1}
	device := func(fd uint32, there bool) seccomp.Range {
		if !there {
			return seccomp.Range{First: fd, Last: fd - 1} // an empty range
		}
		return seccomp.One(fd)
	}
	packets, files := device(boot.FDPackets, b.network), device(boot.FDFiles, b.folders)
	requests := device(boot.FDSockets, b.sockets)
	calls := []jail.Call{
		permit(unix.SYS_FUTEX, "futex", "threads wait for and wake each other",
			jail.PrivateFutex),
		permit(unix.SYS_READ, "read", "standard input, packets, the wake-up event, entropy, files, connections",
			jail.Where("fd is stdin, packets, the wake-up event, entropy, files or a connection",
				seccomp.In(0, seccomp.One(boot.FDStdin), packets,
					seccomp.Range{First: boot.FDWake, Last: boot.FDRandom}, files, connections))),
		permit(unix.SYS_WRITE, "write", "standard output and error, control messages, packets, the wake-up event, files, requests for sockets, connections",
			jail.Where("fd is stdout, stderr, control, packets, the wake-up event, files, sockets or a connection",
				seccomp.In(0, seccomp.Range{First: boot.FDStdout, Last: boot.FDControl}, packets,
					seccomp.One(boot.FDWake), files, requests, connections))),
		permit(unix.SYS_EPOLL_PWAIT, "epoll_pwait", "an idle program waits for packets, files and connections",
			jail.Where("epfd is the epoll instance, sigmask is null",
				one(0, boot.FDEpoll), seccomp.Equal(4, allBits, 0))),
		permit(unix.SYS_CLOCK_GETTIME, "clock_gettime", "CPU clocks; the vDSO makes this call if it cannot read the host's clock",
			jail.AnyArguments),
		permit(unix.SYS_SCHED_YIELD, "sched_yield", "a thread that spins for a lock lets others run",
			jail.AnyArguments),
		permit(unix.SYS_MADVISE, "madvise", "the garbage collector gives memory back and asks for large pages",
			jail.Advice),
		permit(unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask", "a thread blocks signals while it starts another",
			jail.AnyArguments),
		permit(unix.SYS_RT_SIGRETURN, "rt_sigreturn", "a signal handler returns",
			jail.AnyArguments),
		permit(unix.SYS_TGKILL, "tgkill", "the scheduler preempts a goroutine that does not yield; a program signals itself",
			jail.Where("tgid is the image's own",
				one(0, b.pid))),
		permit(unix.SYS_ACCEPT4, "accept4", "clients of published ports and of listening sockets",
			jail.Where("sockfd is a listening socket or a connection, flags are SOCK_NONBLOCK and SOCK_CLOEXEC",
				seccomp.In(0, listeners, connections), one(3, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC))),
		permit(unix.SYS_CLOSE, "close", "connections end",
			jail.Where("fd is a connection",
				seccomp.In(0, connections))),
		permit(unix.SYS_SHUTDOWN, "shutdown", "one direction of a connection ends",
			jail.Where("sockfd is a connection",
				seccomp.In(0, connections))),
		permit(unix.SYS_EPOLL_CTL, "epoll_ctl", "the runtime's poller adds and removes descriptors",
			jail.Where("epfd is the epoll instance",
				one(0, boot.FDEpoll))),
		permit(unix.SYS_MMAP, "mmap", "memory for the heap, stacks and the runtime's tables",
			jail.PrivateMemory),
		permit(unix.SYS_MUNMAP, "munmap", "memory is freed",
			jail.AnyArguments),
		permit(unix.SYS_MPROTECT, "mprotect", "guard pages, memory-mapped files that are read-only",
			jail.NotExecutable),
		permit(unix.SYS_CLONE, "clone", "a new thread",
			jail.NewThread),
		permit(unix.SYS_EXIT, "exit", "a thread ends",
			jail.AnyArguments),
		permit(unix.SYS_SIGALTSTACK, "sigaltstack", "signal handlers run on their own stack",
			jail.AnyArguments),
		permit(unix.SYS_RT_SIGACTION, "rt_sigaction", "the runtime handles faults, preemption and the user's signals",
			jail.AnyArguments),
		firstThread,
		permit(unix.SYS_EXIT_GROUP, "exit_group", "the program ends",
			jail.AnyArguments),
		permit(unix.SYS_EXECVEAT, "execveat", "the jail executes the image once: the call closes the descriptor",
			jail.Where("dirfd is the image, pathname, argv and envp are the jail's own, flags are AT_EMPTY_PATH",
				one(0, b.exec.fd),
				seccomp.Equal(1, allBits, uint64(b.exec.path)),
				seccomp.Equal(2, allBits, uint64(b.exec.argv)),
				seccomp.Equal(3, allBits, uint64(b.exec.envp)),
				seccomp.Equal(4, allBits, unix.AT_EMPTY_PATH))),
	}
	calls = append(calls, socketCalls(requests, connections)...)
	if b.addresses {
		calls = append(calls, addressCalls(connections)...)
	}
	return calls
}

// Flags of messages that an image may use. None of them makes the kernel allocate, connect
// or map anything.
const (
	sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL | unix.MSG_MORE | unix.MSG_OOB
	recvFlags = unix.MSG_DONTWAIT | unix.MSG_PEEK | unix.MSG_TRUNC | unix.MSG_WAITALL | unix.MSG_OOB |
		unix.MSG_CMSG_CLOEXEC | unix.MSG_ERRQUEUE
)

// socketCalls returns the calls on sockets that the image accepts or that the monitor
// passes. They have one range of numbers, so each call is harmless on each of them. The
// image can receive descriptors, from the monitor alone, and send none: sendmsg(2) is not
// here.
func socketCalls(requests, connections seccomp.Range) []jail.Call {
	permit := jail.Permit
	connection := seccomp.In(0, connections)
	flags := func(arg int, permitted uint64) seccomp.Rule { return seccomp.Equal(arg, allBits&^permitted, 0) }
	calls := []jail.Call{
		permit(unix.SYS_WRITEV, "writev", "data from several buffers",
			jail.Where("fd is a connection", connection)),
		permit(unix.SYS_RECVFROM, "recvfrom", "a look at data; urgent data",
			jail.Where("sockfd is a connection, flags are on a list", connection, flags(3, recvFlags))),
		permit(unix.SYS_SENDTO, "sendto", "data of a connection",
			jail.Where("sockfd is a connection, flags are on a list, dest_addr is null", connection, flags(3, sendFlags), seccomp.Equal(4, allBits, 0))),
		permit(unix.SYS_RECVMSG, "recvmsg", "sockets that the monitor passes; data with control messages",
			jail.Where("sockfd is sockets or a connection, flags are on a list", seccomp.In(0, requests, connections), flags(2, recvFlags))),
		permit(unix.SYS_GETSOCKNAME, "getsockname", "the local address of a connection",
			jail.Where("sockfd is a connection", connection)),
		permit(unix.SYS_GETPEERNAME, "getpeername", "whether a connection stands",
			jail.Where("sockfd is a connection", connection)),
	}
	for _, level := range optionLevels {
		var get, set []seccomp.Range
		for _, o := range boot.PassedOptions {
			if o.Level != level.number {
				continue
			}
			get = append(get, seccomp.One(uint32(o.Name)))
			if o.Set {
				set = append(set, seccomp.One(uint32(o.Name)))
			}
		}
		at := one(1, level.number)
		calls = append(calls,
			permit(unix.SYS_SETSOCKOPT, "setsockopt", "options of "+level.name,
				jail.Where("sockfd is a connection, level is "+level.name+", optname is on a list", connection, at, seccomp.In(2, set...))),
			permit(unix.SYS_GETSOCKOPT, "getsockopt", "options of "+level.name,
				jail.Where("sockfd is a connection, level is "+level.name+", optname is on a list", connection, at, seccomp.In(2, get...))))
	}
	return calls
}

// addressCalls returns the calls that name an address to the kernel. They are for an image
// whose network is a namespace of the host in which nothing is closed to it: its UDP
// sockets are its own. The flags are those of socketCalls, so that sendto(2) connects
// nothing. An image can still pass no descriptor to another program: the only unix sockets
// that it has end in its monitor, which receives none there.
func addressCalls(connections seccomp.Range) []jail.Call {
	connection, flags := seccomp.In(0, connections), func(arg int) seccomp.Rule { return seccomp.Equal(arg, allBits&^sendFlags, 0) }
	return []jail.Call{
		jail.Permit(unix.SYS_SENDTO, "sendto", "datagrams to any address",
			jail.Where("sockfd is a connection, flags are on a list; only with --net host and without a policy", connection, flags(3))),
		jail.Permit(unix.SYS_SENDMSG, "sendmsg", "datagrams to any address, with control messages",
			jail.Where("sockfd is a connection, flags are on a list; only with --net host and without a policy", connection, flags(2))),
	}
}

// optionLevels are the levels of boot.PassedOptions.
var optionLevels = []struct {
	number int
	name   string
}{
	{unix.SOL_SOCKET, "SOL_SOCKET"},
	{unix.SOL_TCP, "SOL_TCP"},
	{unix.SOL_IP, "SOL_IP"},
	{unix.SOL_IPV6, "SOL_IPV6"},
}

// one returns a condition that argument arg is n.
func one(arg, n int) seccomp.Rule { return seccomp.In(arg, seccomp.One(uint32(n))) }
