package monitor

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Signals are those that a monitor receives for its instance, which gets none
// from the terminal itself.
type Signals struct {
	C           chan os.Signal
	interrupted bool
}

// CatchSignals has signals come to C from now on, until Stop.
func CatchSignals() *Signals {
	s := &Signals{C: make(chan os.Signal, 16)}
	for _, sig := range []os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH,
		unix.SIGTSTP, unix.SIGCONT,
	} {
		if !signal.Ignored(sig) { // as by nohup(1)
			signal.Notify(s.C, sig)
		}
	}
	return s
}

// Stop ends it.
func (s *Signals) Stop() { signal.Stop(s.C) }

// Relay passes a signal on by way of send: as it is, except that a second
// SIGINT kills, and that Ctrl-Z stops both the instance and this process.
func (s *Signals) Relay(sig os.Signal, send func(unix.Signal)) {
	switch sig {
	case unix.SIGINT:
		if s.interrupted {
			sig = unix.SIGKILL
		}
		s.interrupted = true
	case unix.SIGTSTP:
		// SIGCONT to the monitor continues both.
		send(unix.SIGSTOP)
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		return
	}
	send(sig.(unix.Signal))
}

// Terminals says which of the program's descriptors are terminals.
func Terminals(files ...*os.File) (tty [3]bool) {
	for i, f := range files {
		if f != nil {
			_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
			tty[i] = err == nil
		}
	}
	return tty
}
