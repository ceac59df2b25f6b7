package process

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// signals are those that the monitor receives for its image, which is in a
// session of its own and gets none from the terminal.
type signals struct {
	c           chan os.Signal
	interrupted bool
}

func catchSignals() *signals {
	s := &signals{c: make(chan os.Signal, 16)}
	for _, sig := range []os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH,
		unix.SIGTSTP, unix.SIGCONT,
	} {
		if !signal.Ignored(sig) { // as by nohup(1)
			signal.Notify(s.c, sig)
		}
	}
	return s
}

func (s *signals) stop() { signal.Stop(s.c) }

// relay passes a signal on.
func (s *signals) relay(sig os.Signal, image jail) {
	switch sig {
	case unix.SIGINT:
		if s.interrupted {
			sig = unix.SIGKILL
		}
		s.interrupted = true
	case unix.SIGTSTP:
		// Ctrl-Z stops both; SIGCONT to the monitor continues both.
		image.signal(unix.SIGSTOP)
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		return
	}
	image.signal(sig.(unix.Signal))
}
