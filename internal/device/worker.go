package device

import (
	"fmt"

	"github.com/pith-os/pith/internal/virtqueue"
)

// Worker works on one queue in a goroutine of its own.
type Worker struct {
	queue Queue
	q     *virtqueue.Queue
	done  chan struct{} // nil: it has not begun
}

// NewWorker is the worker of the queue that l lies at, in mem, with the features
// that the driver accepted. It does nothing yet.
func NewWorker(mem *virtqueue.Memory, queue Queue, features uint64) (*Worker, error) {
	q, err := virtqueue.New(mem, queue.Layout, virtqueue.Options{
		EventIndex: features&FeatureEventIdx != 0,
		Indirect:   features&FeatureIndirect != 0,
	}, 0)
	if err != nil {
		return nil, err
	}
	return &Worker{queue: queue, q: q}, nil
}

// Queue is the queue. While the worker runs it is for what the worker calls.
func (w *Worker) Queue() *virtqueue.Queue { return w.q }

// Run has the worker take each chain that the driver makes available and hand
// it to do, which returns how many bytes of c.In it wrote, and pushes it. It
// shows the driver what was pushed when no chain is left, so that a batch costs
// one notification. An error of do, or a lie of the driver's, ends the work and
// goes to bus.
func (w *Worker) Run(bus Bus, do func(c *virtqueue.Chain) (written int, err error)) {
	var c virtqueue.Chain
	w.Each(bus, func() error {
		defer w.Flush()
		for {
			ok, err := w.Pop(&c)
			if err != nil || !ok {
				return err
			}
			n, err := do(&c)
			if err != nil {
				return err
			}
			w.q.Push(&c, n)
		}
	})
}

// Each calls work in the worker's goroutine, once and then for each
// notification of the driver's, until Stop or an error, which goes to bus. It
// is for devices that keep chains; work takes all chains that there are, by Pop.
func (w *Worker) Each(bus Bus, work func() error) {
	w.Go(bus, func() error {
		for !w.Stopped() {
			w.q.DisableNotify()
			if err := work(); err != nil {
				return err
			}
			if !w.q.EnableNotify() && !w.Wait() {
				break
			}
		}
		return nil
	})
}

// Go runs work in the worker's goroutine. It is for devices that wait for more
// than the driver: work returns when Wait reports false, or with an error, which
// goes to bus.
func (w *Worker) Go(bus Bus, work func() error) {
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		if err := work(); err != nil {
			bus.Fail(fmt.Errorf("queue: %w", err))
		}
	}()
}

// Wait waits for a notification of the driver's. It reports false once the
// worker is to stop.
func (w *Worker) Wait() bool { return w.queue.Kick.Wait() }

// Stopped says whether the worker is to stop, for Go's work.
func (w *Worker) Stopped() bool { return w.queue.Kick.Stopped() }

// KickFD is the descriptor that can be read when Wait would not wait.
func (w *Worker) KickFD() int { return w.queue.Kick.FD() }

// Pop is the queue's, but finds no chain once Stop was asked for: a driver that
// adds chains without end, which only a liar can, does not hold up a reset.
func (w *Worker) Pop(c *virtqueue.Chain) (bool, error) {
	if w.Stopped() {
		return false, nil
	}
	return w.q.Pop(c)
}

// Flush shows the driver what was pushed, and notifies it if it wants that.
func (w *Worker) Flush() {
	if w.q.Flush() {
		w.queue.Call.Signal()
	}
}

// Stop ends the work that Run, Each or Go began, if one did, and waits for its end.
// What work is doing it finishes: a device whose work can wait has that end
// first.
func (w *Worker) Stop() {
	w.queue.Kick.Stop()
	if w.done != nil {
		<-w.done
	}
}
