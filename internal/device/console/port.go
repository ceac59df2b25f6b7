package console

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// state is the state of a port on the host side.
type state uint8

const (
	stateOpen state = iota
	stateClosed
	stateGone
)

// port is the internal form of a Port.
type port struct {
	Port
	d        *Device
	id       int
	in, out  int  // file descriptors
	terminal bool // the input is a terminal

	wanted atomic.Bool // the driver has opened the port

	// Guarded by Device.mu.
	state                     state
	added, ready              bool // the driver was sent PORT_ADD; the driver has answered PORT_READY
	news                      news
	receiveKick, transmitKick *event.Event
	draining                  bool   // the transmit worker runs
	asked, written            uint64 // number of Drain calls; the last of them that is done

	output virtqueue.Chain // used by transmit only
	failed bool            // a write failed; used by transmit only
}

func newPort(d *Device, id int, p Port) *port {
	x := &port{Port: p, d: d, id: id}
	if p.Input != nil {
		x.in = int(p.Input.Fd())
		_, err := unix.IoctlGetTermios(x.in, unix.TCGETS)
		x.terminal = err == nil
	}
	if p.Output != nil {
		x.out = int(p.Output.Fd())
	}
	if p.Input == nil && p.Output == nil {
		x.state = stateClosed
	}
	return x
}

// reset puts the port in its state before a driver starts. d.mu is held.
func (p *port) reset(receive, transmit *event.Event) {
	p.wanted.Store(false)
	p.added, p.ready, p.news = false, false, 0
	p.receiveKick, p.transmitKick = receive, transmit
	p.failed = p.state != stateOpen
	if p.state == stateGone {
		p.state = stateClosed // the new driver sees a closed port, not a removed one
	}
}

// end closes the port to the guest at the end of its input or after a broken
// pipe, and removes it after any other error. err is nil at the end of input.
func (p *port) end(err error) {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	switch {
	case p.state == stateGone:
	case err == nil, errors.Is(err, unix.EPIPE):
		p.state = stateClosed
		if p.ready {
			p.d.post(p, newsState)
		}
	default:
		p.state = stateGone
		p.ready, p.news = false, p.news&newsAdded
		if p.added {
			p.d.post(p, newsRemoved)
		}
		p.added = false
	}
}

// transmit writes the output in the queue. It handles at most one queue size of
// chains per call, so that Drain does not wait for newer output.
func (p *port) transmit(w *device.Worker) (err error) {
	p.d.mu.Lock()
	asked := p.asked
	p.d.mu.Unlock()
	defer func() {
		p.d.mu.Lock()
		defer p.d.mu.Unlock()
		p.written = asked
		p.draining = err == nil
		p.d.drained.Broadcast()
	}()
	q, c := w.Queue(), &p.output
	for range q.Size() {
		ok, err := w.Pop(c)
		if err != nil || !ok {
			return err
		}
		if !p.failed {
			if err := p.write(c.Out); err != nil {
				// Keep the buffer: if the driver got it back before the control message, it
				// would take the output for written.
				p.failed = true
				p.end(err)
				continue
			}
		}
		q.Push(c, 0)
		w.Flush()
	}
	return nil
}

func (p *port) write(pieces [][]byte) error {
	if p.Output == nil {
		return nil
	}
	for _, b := range pieces {
		for len(b) > 0 {
			n, err := unix.Write(p.out, b)
			switch {
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.EAGAIN): // another process made the file non-blocking
				if err := poll([]unix.PollFd{{Fd: int32(p.out), Events: unix.POLLOUT}}, nil); err != nil {
					return err
				}
			case err != nil:
				return err
			case n == 0:
				return io.ErrShortWrite
			default:
				b = b[n:]
			}
		}
	}
	return nil
}

// receive reads input until its end or until the device is stopped.
func (p *port) receive(w *device.Worker) error {
	q := w.Queue()
	var c virtqueue.Chain
	for {
		ok := false
		if p.wanted.Load() {
			var err error
			if ok, err = q.Pop(&c); err != nil {
				return err
			}
			if !ok && q.EnableNotify() {
				continue
			}
		}
		if !ok {
			if !w.Wait() {
				return nil
			}
			continue
		}
		if c.InLen == 0 {
			return errors.New("the driver lies: an input buffer that is not writable")
		}
		n, err := p.read(w, c.In[0])
		switch {
		case errors.Is(err, errStopped):
			return nil
		case errors.Is(err, errNotified):
			q.Unpop(1)
		case err != nil || n == 0:
			p.end(err)
			return nil
		default:
			q.Push(&c, n)
			w.Flush()
		}
	}
}

var (
	errStopped  = errors.New("the device was stopped")
	errNotified = errors.New("the driver has notified the device")
)

// backgroundCheck is the interval at which a background process tries again to
// read its terminal. No event reports that it is in the foreground.
const backgroundCheck = time.Second

// read waits for input or a notification, and reads the input into b.
func (p *port) read(w *device.Worker, b []byte) (int, error) {
	either := [2]unix.PollFd{{Fd: int32(w.KickFD()), Events: unix.POLLIN}, {Fd: int32(p.in), Events: unix.POLLIN}}
	from, timeout := either[:], (*unix.Timespec)(nil)
	for {
		if err := poll(from, timeout); err != nil {
			return 0, err
		}
		if from[0].Revents != 0 {
			if !w.Wait() {
				return 0, errStopped
			}
			return 0, errNotified
		}
		if from, timeout = either[:], nil; from[1].Revents == 0 {
			continue // the terminal was in the background; poll for input again
		}
		n, err := unix.Read(p.in, b)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.EIO) && p.terminal && from[1].Revents&unix.POLLHUP == 0:
			// The terminal is not hung up, so this process is in the background.
			from[1].Revents = 0
			from, timeout = from[:1], &unix.Timespec{Sec: int64(backgroundCheck / time.Second)}
		default:
			return n, err
		}
	}
}

// poll calls ppoll(2) until a descriptor is ready or the timeout expires.
func poll(fds []unix.PollFd, timeout *unix.Timespec) error {
	for {
		_, err := unix.Ppoll(fds, timeout, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
