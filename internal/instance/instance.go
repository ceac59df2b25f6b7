// Package instance is a running image as a value. A [Spec] says what to run,
// [Start] checks it and starts it on the Spec's [Monitor], and the [Instance]
// that Start returns is signalled, stopped, waited for and looked at. One loop
// (supervise.go) looks after an instance, whatever its monitor.
//
// The command line, tests and trial runs of monitors make Specs. Monitors
// (internal/monitor/...) implement [Monitor] and [Running]; this package knows
// none of them.
package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// ErrEnded is the error of a signal to an instance that has ended.
var ErrEnded = errors.New("the instance has ended")

// Status says where an instance is in its life. It begins when Start returns.
type Status string

// The statuses of an instance.
const (
	StatusRunning Status = "running"
	StatusExited  Status = "exited"
)

// State is what is known of an instance's life.
type State struct {
	Status   Status
	Started  time.Time
	Ended    time.Time // zero while it runs
	ExitCode int       // as Wait returns it; 0 while it runs
	Err      error     // as Wait returns it; nil while it runs
}

// Instance is an image that was started. Its methods may be called from any
// goroutine.
type Instance struct {
	launch  *Launch
	plug    *Plug // nil: no network
	running Running
	ports   *ports
	done    chan struct{} // closed when the instance has ended

	mu    sync.Mutex // of what follows; held while running may be signalled
	state State
	final Stats // the last ones
}

// Start starts what s says and returns when the image runs. When ctx is done
// the instance is killed. Nothing of an instance is left when Wait returns, nor
// when the process that called Start ends, in whatever way.
func Start(ctx context.Context, s *Spec) (_ *Instance, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.Image == nil {
		return nil, errors.New("there is no image to start")
	}
	own := *s // what the caller changes from now on is the next instance's
	l := &Launch{Spec: &own, Boot: s.Parameters(), Verbose: s.Log != nil}
	if l.Log == nil {
		l.Log = func(string, ...any) {}
	}
	i := &Instance{launch: l, done: make(chan struct{})}
	if i.ports, err = newPorts(l); err != nil {
		return nil, err
	}
	if s.Network != nil {
		if i.plug, err = s.Network.Open(s.Namespace); err != nil {
			return nil, err
		}
		l.Network, l.Boot.Net = i.plug.Network, &i.plug.Card
	}
	if i.running, err = s.Monitor.Start(ctx, l); err != nil {
		return nil, errors.Join(err, i.closeNetwork())
	}
	kind := "confined"
	if s.Monitor.Describe().VM {
		kind = "virtual machine"
	}
	l.Log("%s: %s", kind, i.How())
	i.state = State{Status: StatusRunning, Started: time.Now()}
	go i.supervise(ctx)
	return i, nil
}

// Run starts an instance and waits for its end.
func Run(ctx context.Context, s *Spec) (exitCode int, err error) {
	i, err := Start(ctx, s)
	if err != nil {
		return 0, err
	}
	return i.Wait()
}

// Wait waits for the instance's end and returns the program's exit code, as
// libos/boot has exit codes. An error is a failure of the monitor: there is no
// exit code then.
func (i *Instance) Wait() (exitCode int, err error) {
	<-i.done
	s := i.State()
	return s.ExitCode, s.Err
}

// How says in a few words what the image runs in.
func (i *Instance) How() string { return i.running.How() }

// Done returns a channel that is closed when the instance has ended.
func (i *Instance) Done() <-chan struct{} { return i.done }

// State returns where the instance is in its life.
func (i *Instance) State() State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// Signal sends the program a signal. SIGKILL, SIGSTOP and SIGCONT act on the
// instance as a whole. The error is ErrEnded if the instance has ended.
func (i *Instance) Signal(sig unix.Signal) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.state.Status == StatusExited {
		return ErrEnded
	}
	i.running.Signal(sig)
	return nil
}

// Stop sends the program SIGTERM. If it has not ended after the grace time, or
// when ctx is done, Stop kills it. It returns as Wait does.
func (i *Instance) Stop(ctx context.Context, grace time.Duration) (exitCode int, err error) {
	if i.Signal(unix.SIGTERM) == nil {
		// A stopped program does not see the signal before it goes on.
		_ = i.Signal(unix.SIGCONT)
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-i.done:
		return i.Wait()
	case <-timer.C:
	case <-ctx.Done():
	}
	_ = i.Signal(unix.SIGKILL) // it may have ended by now
	return i.Wait()
}

// closeNetwork closes the network, if there is one.
func (i *Instance) closeNetwork() error {
	if i.plug == nil || i.plug.Close == nil {
		return nil
	}
	if err := i.plug.Close(); err != nil {
		return fmt.Errorf("close the network: %w", err)
	}
	return nil
}

// ExitCode returns the exit code of an instance whose process ended with
// status.
func ExitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return boot.ExitSignal(int(status.Signal()))
	}
	return status.ExitStatus()
}
