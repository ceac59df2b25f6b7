// Package instance represents a running image as a value. A [Spec] describes the image to run
// and its resources. [Start] checks the Spec, starts the image on the Spec's [Monitor] and
// returns an [Instance]. Callers signal, stop and inspect the Instance, and wait for its end.
// One loop (supervise.go) supervises an instance with any monitor.
//
// The command line, tests and trial runs of monitors make Specs. Monitors
// (internal/monitor/...) implement [Monitor] and [Running]. This package does not import them.
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

// Status is a phase in the life of an instance. The first phase begins when Start returns.
type Status string

// The statuses of an instance.
const (
	StatusRunning Status = "running"
	StatusExited  Status = "exited"
)

// State describes the life of an instance.
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
	plug    *Plug // the open network; nil: no network
	running Running
	ports   *ports
	done    chan struct{} // closed when the instance has ended

	mu    sync.Mutex // guards the fields below; held during a signal to running
	state State
	final Stats // the last statistics
}

// Start starts an instance and returns when the image runs. When ctx is done, the instance is
// killed. When Wait returns, all resources of the instance are released. The same is true when
// the calling process ends, even if it is killed.
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
	own := *s // later changes by the caller do not affect this instance
	l := &Launch{Spec: &own, Boot: s.Parameters(), Verbose: s.Log != nil}
	if l.Log == nil {
		l.Log = func(string, ...any) {}
	}
	i := &Instance{launch: l, done: make(chan struct{})}
	if i.ports, err = newPorts(l); err != nil {
		return nil, err
	}
	l.Listen = i.ports.listen
	if s.Network != nil {
		if i.plug, err = s.Network.Open(l); err != nil {
			return nil, err
		}
		l.Network, l.Sockets = i.plug.Network, i.plug.Sockets
		if l.Network != nil {
			l.Boot.Net = &i.plug.Card
		}
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

// Wait waits for the instance's end and returns the program's exit code (libos/boot). An error
// means that the monitor failed. Then there is no exit code.
func (i *Instance) Wait() (exitCode int, err error) {
	<-i.done
	s := i.State()
	return s.ExitCode, s.Err
}

// How returns a short description of the environment that the image runs in.
func (i *Instance) How() string { return i.running.How() }

// Done returns a channel that is closed when the instance has ended.
func (i *Instance) Done() <-chan struct{} { return i.done }

// State returns the present state of the instance.
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

// Stop sends the program SIGTERM. If the program still runs after the grace time or when ctx is
// done, Stop kills it. Stop returns the same values as Wait.
func (i *Instance) Stop(ctx context.Context, grace time.Duration) (exitCode int, err error) {
	if i.Signal(unix.SIGTERM) == nil {
		// A stopped program handles the signal only after SIGCONT.
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
	_ = i.Signal(unix.SIGKILL) // fails if the instance has ended
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

// ExitCode returns the exit code for an instance's process that ended with status.
func ExitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return boot.ExitSignal(int(status.Signal()))
	}
	return status.ExitStatus()
}
