package cli

import (
	"os"
	"os/signal"

	"github.com/pith-os/pith/internal/instance"

	"golang.org/x/sys/unix"
)

// foreground passes the signals of this process to the instance that it runs. An
// instance gets none from the terminal itself.
type foreground struct {
	signals     chan os.Signal
	interrupted bool
}

// catchSignals has signals come to the foreground from now on, until release.
func catchSignals() *foreground {
	f := &foreground{signals: make(chan os.Signal, 16)}
	for _, sig := range []os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH,
		unix.SIGTSTP, unix.SIGCONT,
	} {
		if !signal.Ignored(sig) { // as by nohup(1)
			signal.Notify(f.signals, sig)
		}
	}
	return f
}

// release ends it.
func (f *foreground) release() { signal.Stop(f.signals) }

// wait passes signals to the instance until it has ended, and returns as
// instance.Wait does.
func (f *foreground) wait(i *instance.Instance) (exitCode int, err error) {
	for {
		select {
		case <-i.Done():
			return i.Wait()
		case sig := <-f.signals:
			f.relay(sig.(unix.Signal), func(sig unix.Signal) {
				_ = i.Signal(sig) // it may have ended by now
			})
		}
	}
}

// relay passes a signal on by way of send. A second SIGINT kills the instance,
// and Ctrl-Z stops both the instance and this process.
func (f *foreground) relay(sig unix.Signal, send func(unix.Signal)) {
	switch sig {
	case unix.SIGINT:
		if f.interrupted {
			sig = unix.SIGKILL
		}
		f.interrupted = true
	case unix.SIGTSTP:
		// SIGCONT to this process continues both.
		send(unix.SIGSTOP)
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		return
	}
	send(sig)
}
