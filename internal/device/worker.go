package device

import (
	"fmt"

	"github.com/pith-os/pith/internal/virtqueue"
)

// Worker serves one queue in a goroutine of its own.
type Worker struct {
	queue Queue
	q     *virtqueue.Queue
	done  chan struct{} // nil before Run, Each or Go
}

// NewWorker returns a worker for queue, which lies in mem. features are the
// features that the driver accepted. The worker does not run yet.
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

// Queue returns the queue of the worker. While the worker runs, only its own
// goroutine may use the queue.
func (w *Worker) Queue() *virtqueue.Queue { return w.q }

// Run serves the queue in the worker's goroutine. It pops each chain, calls do,
// and pushes the chain. do returns the number of bytes that it wrote to c.In.
// The driver sees the used chains once the queue is empty, so a batch of chains
// costs one interrupt. An error of do or an invalid queue ends the work, and
// Run passes the error to bus.Fail.
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

// Each calls work in the worker's goroutine: once at the start, then after each
// notification, until Stop or an error. It passes the error to bus.Fail. Each
// is for devices that keep chains. work must use Pop until it returns no chain.
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

// Go calls work in the worker's goroutine. It is for devices that wait for more
// than the driver. work returns when Wait reports false, or with an error. Go
// passes the error to bus.Fail.
func (w *Worker) Go(bus Bus, work func() error) {
	w.done = make(chan struct{})
	go func() {
		defer close(w.done)
		if err := work(); err != nil {
			bus.Fail(fmt.Errorf("queue: %w", err))
		}
	}()
}

// Wait waits for a notification of the driver. It reports false once Stop was
// called.
func (w *Worker) Wait() bool { return w.queue.Kick.Wait() }

// Stopped reports whether Stop was called.
func (w *Worker) Stopped() bool { return w.queue.Kick.Stopped() }

// KickFD returns a file descriptor that is readable when Wait would return at
// once.
func (w *Worker) KickFD() int { return w.queue.Kick.FD() }

// Pop pops a chain from the queue. After Stop was called it returns no chain.
// Otherwise a malicious driver could add chains without end and delay a reset
// forever.
func (w *Worker) Pop(c *virtqueue.Chain) (bool, error) {
	if w.Stopped() {
		return false, nil
	}
	return w.q.Pop(c)
}

// Flush shows the used chains to the driver, and interrupts it if the driver
// wants that.
func (w *Worker) Flush() {
	if w.q.Flush() {
		w.queue.Call.Signal()
	}
}

// Stop ends the work of Run, Each or Go, if it was started, and waits for its
// end. A call of work that is in progress finishes first. A device whose work
// can block must first unblock it.
func (w *Worker) Stop() {
	w.queue.Kick.Stop()
	if w.done != nil {
		<-w.done
	}
}
