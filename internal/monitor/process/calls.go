package process

import (
	"github.com/pith-os/pith/internal/monitor/process/seccomp"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// call is a row of the table of permitted system calls: what the filter checks
// and why an image needs it. docs/security.md shows the same table.
type call struct {
	number uint32
	name   string
	reason string
	bound  string         // what rules say, in words; empty: nothing to check
	rules  []seccomp.Rule // all must hold
}

// bounds are what the table depends on.
type bounds struct {
	pid       int  // as the image sees it
	network   bool // there is a network device
	folders   bool // there are folders of the host
	listeners int  // number of listening sockets
	exec      execCall
}

// execCall are the arguments of the one execveat(2) that starts the image.
type execCall struct {
	fd               int
	path, argv, envp uintptr
}

// maxDescriptors is RLIMIT_NOFILE of an image.
const maxDescriptors = 1 << 16

// The kernel's names that package unix does not have.
const (
	archSetFS        = 0x1002  // ARCH_SET_FS, asm/prctl.h
	futexWaitPrivate = 0 | 128 // FUTEX_WAIT | FUTEX_PRIVATE_FLAG, linux/futex.h
	futexWakePrivate = 1 | 128 // FUTEX_WAKE | FUTEX_PRIVATE_FLAG

	// threadFlags are the flags of clone with which the Go runtime makes
	// a thread (runtime/os_linux.go); threadOptions may be added.
	threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
		unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	threadOptions = unix.CLONE_SETTLS | unix.CLONE_CHILD_SETTID

	memoryFlags   = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	memoryOptions = unix.MAP_FIXED | unix.MAP_FIXED_NOREPLACE | unix.MAP_NORESERVE |
		unix.MAP_POPULATE | unix.MAP_STACK

	allBits = ^uint64(0)
)

// permitted is the table, the most frequent calls first.
func permitted(b bounds) []call {
	one := func(arg int, n int) seccomp.Rule { return seccomp.In(arg, seccomp.One(uint32(n))) }
	listeners := seccomp.Range{First: boot.FDListen, Last: uint32(boot.FDListen + b.listeners - 1)}
	connections := seccomp.Range{First: uint32(boot.FDListen + b.listeners), Last: maxDescriptors - 1}
	device := func(fd uint32, there bool) seccomp.Range {
		if !there {
			return seccomp.Range{First: fd, Last: fd - 1} // none
		}
		return seccomp.One(fd)
	}
	packets, files := device(boot.FDPackets, b.network), device(boot.FDFiles, b.folders)
	return []call{
		{unix.SYS_FUTEX, "futex", "threads wait for and wake each other",
			"op is FUTEX_WAIT or FUTEX_WAKE, private",
			[]seccomp.Rule{seccomp.In(1, seccomp.One(futexWaitPrivate), seccomp.One(futexWakePrivate))}},
		{unix.SYS_READ, "read", "standard input, packets, the wake-up event, entropy, files, connections",
			"fd is stdin, packets, the wake-up event, entropy, files or a connection",
			[]seccomp.Rule{seccomp.In(0, seccomp.One(boot.FDStdin), packets,
				seccomp.Range{First: boot.FDWake, Last: boot.FDRandom}, files, connections)}},
		{unix.SYS_WRITE, "write", "standard output and error, control messages, packets, the wake-up event, files, connections",
			"fd is stdout, stderr, control, packets, the wake-up event, files or a connection",
			[]seccomp.Rule{seccomp.In(0, seccomp.Range{First: boot.FDStdout, Last: boot.FDControl}, packets,
				seccomp.One(boot.FDWake), files, connections)}},
		{unix.SYS_EPOLL_PWAIT, "epoll_pwait", "an idle program waits for packets, files and connections",
			"epfd is the epoll instance, sigmask is null",
			[]seccomp.Rule{one(0, boot.FDEpoll), seccomp.Equal(4, allBits, 0)}},
		{unix.SYS_CLOCK_GETTIME, "clock_gettime", "CPU clocks; the vDSO makes it where it cannot read the host's clock itself",
			"", nil},
		{unix.SYS_SCHED_YIELD, "sched_yield", "a thread that spins for a lock lets others run",
			"", nil},
		{unix.SYS_MADVISE, "madvise", "the garbage collector gives memory back and asks for large pages",
			"advice is NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE or COLLAPSE",
			[]seccomp.Rule{seccomp.In(2,
				seccomp.Range{First: unix.MADV_NORMAL, Last: unix.MADV_DONTNEED}, seccomp.One(unix.MADV_FREE),
				seccomp.Range{First: unix.MADV_HUGEPAGE, Last: unix.MADV_NOHUGEPAGE}, seccomp.One(unix.MADV_COLLAPSE))}},
		{unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask", "a thread blocks signals while it starts another",
			"", nil},
		{unix.SYS_RT_SIGRETURN, "rt_sigreturn", "a signal handler returns",
			"", nil},
		{unix.SYS_TGKILL, "tgkill", "the scheduler preempts a goroutine that does not yield; a program signals itself",
			"tgid is the image's own",
			[]seccomp.Rule{one(0, b.pid)}},
		{unix.SYS_ACCEPT4, "accept4", "connections to published ports",
			"sockfd is a listening socket, flags are SOCK_NONBLOCK and SOCK_CLOEXEC",
			[]seccomp.Rule{seccomp.In(0, listeners), one(3, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)}},
		{unix.SYS_CLOSE, "close", "connections end",
			"fd is a connection",
			[]seccomp.Rule{seccomp.In(0, connections)}},
		{unix.SYS_SHUTDOWN, "shutdown", "one direction of a connection ends",
			"sockfd is a connection",
			[]seccomp.Rule{seccomp.In(0, connections)}},
		{unix.SYS_EPOLL_CTL, "epoll_ctl", "the runtime's poller adds and removes descriptors",
			"epfd is the epoll instance",
			[]seccomp.Rule{one(0, boot.FDEpoll)}},
		{unix.SYS_MMAP, "mmap", "memory for the heap, stacks and the runtime's tables",
			"prot without PROT_EXEC; flags are MAP_PRIVATE and MAP_ANONYMOUS, with or without " +
				"MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_POPULATE, MAP_STACK",
			[]seccomp.Rule{
				seccomp.Equal(2, ^uint64(unix.PROT_READ|unix.PROT_WRITE), 0),
				seccomp.Equal(3, ^uint64(memoryOptions), memoryFlags)}},
		{unix.SYS_MUNMAP, "munmap", "memory is given back",
			"", nil},
		{unix.SYS_MPROTECT, "mprotect", "guard pages, memory-mapped files that are read-only",
			"prot is PROT_NONE, PROT_READ, PROT_WRITE or both",
			[]seccomp.Rule{seccomp.Equal(2, ^uint64(unix.PROT_READ|unix.PROT_WRITE), 0)}},
		{unix.SYS_CLONE, "clone", "a new thread",
			"flags are CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_SYSVSEM and CLONE_THREAD, " +
				"with or without CLONE_SETTLS, CLONE_CHILD_SETTID",
			[]seccomp.Rule{seccomp.Equal(0, ^uint64(threadOptions), threadFlags)}},
		{unix.SYS_EXIT, "exit", "a thread ends",
			"", nil},
		{unix.SYS_SIGALTSTACK, "sigaltstack", "signals are handled on a stack of their own",
			"", nil},
		{unix.SYS_RT_SIGACTION, "rt_sigaction", "the runtime handles faults, preemption and the user's signals",
			"", nil},
		{unix.SYS_ARCH_PRCTL, "arch_prctl", "the first thread's thread-local storage",
			"op is ARCH_SET_FS",
			[]seccomp.Rule{one(0, archSetFS)}},
		{unix.SYS_EXIT_GROUP, "exit_group", "the program ends",
			"", nil},
		{unix.SYS_EXECVEAT, "execveat", "the jail becomes the image, once: the descriptor is closed by it",
			"dirfd is the image, pathname, argv and envp are the jail's own, flags are AT_EMPTY_PATH",
			[]seccomp.Rule{
				one(0, b.exec.fd),
				seccomp.Equal(1, allBits, uint64(b.exec.path)),
				seccomp.Equal(2, allBits, uint64(b.exec.argv)),
				seccomp.Equal(3, allBits, uint64(b.exec.envp)),
				seccomp.Equal(4, allBits, unix.AT_EMPTY_PATH)}},
	}
}

// filter compiles the table.
//
// restart_syscall is not permitted but answered: the kernel makes it in the
// place of a timed futex wait that SIGSTOP or a debugger interrupted
// (restart_syscall(2)). The waiter sees EINTR, as from any early wake-up.
func filter(b bounds) ([]unix.SockFilter, error) {
	var calls []seccomp.Call
	for _, c := range permitted(b) {
		calls = append(calls, seccomp.Call{Number: c.number, Rules: c.rules})
	}
	return seccomp.Compile(calls, []seccomp.Answer{{Number: unix.SYS_RESTART_SYSCALL, Errno: unix.EINTR}})
}
