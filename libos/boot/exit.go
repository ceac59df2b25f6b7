package boot

// Exit codes of an instance, besides the program's own. Docker, env(1) and
// shells have the same ones. The nucleus, which can import nothing, repeats
// those that it needs; a test compares them.
const (
	// ExitFailure says that the image or its monitor could not run the
	// program.
	ExitFailure = 125
	// ExitCrash says that the nucleus crashed: 128 and SIGABRT.
	ExitCrash = exitSignal + 6
	// ExitOutOfMemory says that the instance ran out of memory: 128 and
	// SIGKILL, as if Linux had killed the program.
	ExitOutOfMemory = exitSignal + 9
	// ExitForbidden says that the program made a system call that nobody
	// permits: 128 and SIGSYS.
	ExitForbidden = exitSignal + 31

	exitSignal = 128
)

// ExitSignal returns the exit code of a program that a signal ended.
func ExitSignal(sig int) int { return exitSignal + sig }
