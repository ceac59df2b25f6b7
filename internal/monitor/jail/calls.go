package jail

import (
	"github.com/pith-os/pith/internal/monitor/jail/seccomp"

	"golang.org/x/sys/unix"
)

// Call is a row of a table of permitted system calls: the call, its conditions and the
// reason for it. docs/security.md shows the tables. If a system call has several rows,
// the filter permits it when one of them matches.
type Call struct {
	Number uint32
	Name   string
	Reason string
	Bound
}

// Permit returns a row.
func Permit(number uint32, name, reason string, b Bound) Call { return Call{number, name, reason, b} }

// Calls returns how many system calls a table permits. A call may have several rows.
func Calls(table []Call) int {
	numbers := map[uint32]bool{}
	for _, c := range table {
		numbers[c.Number] = true
	}
	return len(numbers)
}

// Bound is the conditions of a row on the arguments.
type Bound struct {
	Text  string         // the Rules in English; empty: no rules
	Rules []seccomp.Rule // all must hold
}

// Filter compiles a table.
//
// The filter does not permit restart_syscall, but answers it with EINTR. The kernel
// makes this call in place of a timed futex wait that SIGSTOP or a debugger
// interrupted (restart_syscall(2)). The waiter sees an early wake-up.
func Filter(table []Call, answers ...seccomp.Answer) ([]unix.SockFilter, error) {
	var calls []seccomp.Call
	for _, c := range table {
		calls = append(calls, seccomp.Call{Number: c.Number, Rules: c.Rules})
	}
	return seccomp.Compile(calls, append(answers, seccomp.Answer{Number: unix.SYS_RESTART_SYSCALL, Errno: unix.EINTR}))
}

// Constants of the kernel that package unix lacks.
const (
	futexWaitPrivate = 0 | 128 // FUTEX_WAIT | FUTEX_PRIVATE_FLAG, linux/futex.h
	futexWakePrivate = 1 | 128 // FUTEX_WAKE | FUTEX_PRIVATE_FLAG
)

// ThreadFlags are the flags of clone(2) that the Go runtime uses for a new thread
// (runtime/os_linux.go). threadOptions are further flags that it may use.
const (
	ThreadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
		unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	threadOptions = unix.CLONE_SETTLS | unix.CLONE_CHILD_SETTID
)

const (
	memoryFlags   = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	memoryOptions = unix.MAP_FIXED | unix.MAP_FIXED_NOREPLACE | unix.MAP_NORESERVE |
		unix.MAP_POPULATE | unix.MAP_STACK
)

// Where returns a bound with the given rules. text describes them in English.
func Where(text string, rules ...seccomp.Rule) Bound { return Bound{text, rules} }

// Bounds for the system calls of the Go runtime.
var (
	AnyArguments = Bound{}

	PrivateFutex = Where("op is FUTEX_WAIT or FUTEX_WAKE, private",
		seccomp.In(1, seccomp.One(futexWaitPrivate), seccomp.One(futexWakePrivate)))

	NewThread = Where("flags are CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_SYSVSEM and CLONE_THREAD, "+
		"with or without CLONE_SETTLS, CLONE_CHILD_SETTID",
		seccomp.Equal(0, ^uint64(threadOptions), ThreadFlags))

	PrivateMemory = Where("prot without PROT_EXEC; flags are MAP_PRIVATE and MAP_ANONYMOUS, with or without "+
		"MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_NORESERVE, MAP_POPULATE, MAP_STACK",
		seccomp.Equal(2, ^uint64(unix.PROT_READ|unix.PROT_WRITE), 0),
		seccomp.Equal(3, ^uint64(memoryOptions), memoryFlags))

	NotExecutable = Where("prot is PROT_NONE, PROT_READ, PROT_WRITE or both",
		seccomp.Equal(2, ^uint64(unix.PROT_READ|unix.PROT_WRITE), 0))

	Advice = Where("advice is NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE or COLLAPSE",
		seccomp.In(2,
			seccomp.Range{First: unix.MADV_NORMAL, Last: unix.MADV_DONTNEED}, seccomp.One(unix.MADV_FREE),
			seccomp.Range{First: unix.MADV_HUGEPAGE, Last: unix.MADV_NOHUGEPAGE}, seccomp.One(unix.MADV_COLLAPSE)))
)
