package instance

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// supervise supervises a running instance until its end.
//
// If the network fails, the instance loses only its network card, and the user gets a line on
// standard error. The program may go on without the card. Any other failure ends the instance.
func (i *Instance) supervise(ctx context.Context) {
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // the first failure is enough
		}
	}
	r := i.running
	if !r.Accepts() {
		i.ports.network = i.launch.Network
	}
	var tasks sync.WaitGroup
	for _, task := range r.Tasks() {
		tasks.Go(func() {
			if err := task(serving); err != nil {
				fail(err)
			}
		})
	}
	tasks.Go(func() {
		r.Receive(func(message string) {
			switch done, err := i.ports.handle(message); {
			case err != nil:
				fail(err)
			case done:
				r.Acknowledge(message)
			}
		})
	})
	if l := r.Link(); l != nil {
		tasks.Go(func() {
			if err := i.launch.Network.Serve(serving, l); err != nil && serving.Err() == nil {
				i.launch.Warn("the network ended: %v", errors.Join(err, r.Unplug()))
			}
		})
	}

	var failure error
	for done, running := ctx.Done(), true; running; {
		select {
		case <-r.Ended():
			running = false
		case failure = <-failed:
			r.Signal(unix.SIGKILL)
		case <-done:
			done = nil
			r.Signal(unix.SIGKILL)
		}
	}
	cancel()
	final, err := i.measure()
	if err != nil { // this does not make the instance fail
		i.launch.Log("statistics: %v", err)
	}
	err = errors.Join(failure, r.Stop())
	tasks.Wait()
	i.ports.close()
	i.end(final, errors.Join(err, i.closeNetwork()))
}

// end sets the instance's last state.
func (i *Instance) end(final Stats, failure error) {
	i.mu.Lock() // no signals from now on: other processes may get the process ids
	code, err := i.running.Result()
	err = errors.Join(failure, err)
	if err != nil {
		code = 0
	}
	i.state.Status, i.state.ExitCode, i.state.Err, i.state.Ended = StatusExited, code, err, time.Now()
	final.Started, final.Ended, final.Processes, final.Memory = i.state.Started, i.state.Ended, nil, 0
	i.final = final
	i.mu.Unlock()
	close(i.done)
}
