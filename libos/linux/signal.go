package linux

// Signals (signal(7)) that the library OS knows by name.
const (
	SIGINT   = 2
	SIGKILL  = 9
	SIGPIPE  = 13
	SIGALRM  = 14
	SIGTERM  = 15
	SIGSTOP  = 19
	SIGWINCH = 28
	NSIG     = 64 // the highest
)

// Operations of rt_sigprocmask(2).
const (
	SIG_BLOCK   = 0
	SIG_UNBLOCK = 1
	SIG_SETMASK = 2
)

// SS_DISABLE of sigaltstack(2): there is no alternate stack.
const SS_DISABLE = 2

// StackT is stack_t (sigaltstack(2)).
type StackT struct {
	Sp    uintptr
	Flags int32
	_     int32
	Size  uint64
}
