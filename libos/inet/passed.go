package inet

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"
)

// passed is a socket that may have a socket of the host, which the monitor has passed or
// which the host has accepted. The program reads and writes that directly: the runtime's
// poller is attached to the host's descriptor (file.Pollable). Goroutines that pass the
// descriptor's edges on to the queue run only if the program waits in another way, by
// epoll or in a blocking call.
type passed struct {
	socket.Base
	domain  int
	options hostOptions

	host atomic.Pointer[platform.Host] // the host's socket; nil: none
	full atomic.Bool                   // the last write to host found no room
	// failed is an error of the connection that Ready has found and that no call
	// has reported yet.
	failed     atomic.Int32
	connecting atomic.Bool // the host may still be connecting

	mu      sync.Mutex // guards changes of host
	pollers []*poller  // the runtime's pollDescs, one for each descriptor that polls

	watched atomic.Bool                   // Queue has entries
	follows atomic.Pointer[platform.Host] // the socket whose edges goroutines pass on
}

// poller is a pollDesc of the runtime. The host's socket sends its events to it
// directly, if it is the only one. Otherwise it gets them from the queue.
type poller struct {
	pd     uintptr
	entry  wait.Entry // in the queue
	queued bool
}

func (s *passed) init(domain, typ, proto int) {
	s.Base.Init(domain, typ, proto)
	s.domain = domain
	s.Queue.Changed = s.watch
}

// replace sets the socket of the host, with s.mu held. The runtime's poller and
// those who watch the queue follow it.
func (s *passed) replace(host *platform.Host) {
	old := s.host.Swap(host)
	s.poll(host)
	if old != nil {
		old.Close()
	}
	s.full.Store(false)
	s.failed.Store(0)
	if host != nil && s.watched.Load() {
		s.follow(host)
	}
	s.Queue.Notify(wait.In | wait.Out)
}

// poll sends the events of the socket to the pollers, with s.mu held. It is
// called after each change of the pollers or of the host's socket.
func (s *passed) poll(host *platform.Host) {
	for _, p := range s.pollers {
		direct := host != nil && len(s.pollers) == 1
		switch {
		case direct:
			if p.queued {
				s.Queue.Unregister(&p.entry)
				p.queued = false
			}
			host.Attach(p.pd) // fails only if the socket is closed, which wakes everybody
		case !p.queued:
			if host != nil {
				host.Detach(p.pd)
			}
			s.Queue.Register(&p.entry, wait.In|wait.Out|wait.RdHup)
			p.queued = true
			platform.PollReady(p.pd, platform.Readable|platform.Writable) // for what it may have missed
		}
	}
}

// PollOpen implements file.Pollable.
func (s *passed) PollOpen(pd uintptr) linux.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &poller{pd: pd}
	p.entry.Notify = func(ev wait.Events) { platform.PollReady(pd, file.PollMode(ev)) }
	s.pollers = append(s.pollers, p)
	s.poll(s.host.Load())
	return 0
}

// PollClose implements file.Pollable.
func (s *passed) PollClose(pd uintptr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host.Load()
	for i, p := range s.pollers {
		if p.pd != pd {
			continue
		}
		if p.queued {
			s.Queue.Unregister(&p.entry)
		} else {
			h.Detach(pd)
		}
		s.pollers = append(s.pollers[:i:i], s.pollers[i+1:]...)
		s.poll(h)
		return
	}
}

// watch starts to pass the host's edges on to the queue when the queue gets its
// first entry. It continues until the socket is closed: a goroutine that stopped
// earlier could leave an edge in the poller that nobody sees.
func (s *passed) watch(on bool) {
	s.watched.Store(on)
	if h := s.host.Load(); on && h != nil {
		s.follow(h)
	}
}

// directions are the two directions of the host's edges.
var directions = [2]struct {
	mode platform.Mode
	ev   wait.Events
}{
	{platform.Readable, wait.In | wait.RdHup},
	{platform.Writable, wait.Out},
}

// follow starts the goroutines that pass on the edges of a socket of the host.
func (s *passed) follow(host *platform.Host) {
	if s.follows.Swap(host) == host {
		return
	}
	for _, d := range directions {
		go func() {
			for host.Wait(d.mode) == 0 {
				if d.mode == platform.Writable {
					s.full.Store(false)
				}
				s.Queue.Notify(d.ev)
			}
		}()
	}
}

// hostReady returns the level of the host's socket. The host reports edges
// only, so finding the current state takes a look ahead.
func (s *passed) hostReady(h *platform.Host) (ev wait.Events) {
	var b [1]byte
	switch n, errno := h.Recv(b[:], linux.MSG_PEEK); {
	case errno == linux.EAGAIN:
	case errno != 0:
		s.failed.Store(int32(errno))
		ev = wait.In | wait.Err
	case n == 0 && s.Type() == linux.SOCK_STREAM:
		ev = wait.In | wait.RdHup
	default:
		ev = wait.In
	}
	if !s.full.Load() {
		ev |= wait.Out
	}
	return ev
}

// takeFailed returns the error that Ready has found, once.
func (s *passed) takeFailed() linux.Errno {
	if s.failed.Load() == 0 {
		return 0
	}
	return linux.Errno(s.failed.Swap(0))
}

// wrote records whether the host has room.
func (s *passed) wrote(n int, errno linux.Errno) (int, linux.Errno) {
	if errno == linux.EAGAIN {
		s.full.Store(true)
	}
	return n, errno
}

// close closes the host's socket. With SO_LINGER, that may wait for the peer.
func (s *passed) close(h *platform.Host) {
	if s.options.lingers() {
		h.CloseLingering()
	} else {
		h.Close()
	}
}

// unread is FIONREAD. The host tells no more than it would give.
func unread(h *platform.Host, arg uintptr) linux.Errno {
	out, errno := call.At[int32](arg)
	if errno != 0 {
		return errno
	}
	n, errno := h.Recv(make([]byte, tcpBufferDefault), linux.MSG_PEEK)
	if errno != 0 && errno != linux.EAGAIN {
		return errno
	}
	*out = int32(max(n, 0))
	return 0
}

// hostState returns the TCP_* state of a connection of the host.
func hostState(h *platform.Host) int {
	var info [1]byte // its first byte is the state (struct tcp_info)
	if n, errno := h.Option(linux.SOL_TCP, linux.TCP_INFO, info[:]); errno != 0 || n == 0 {
		return linux.TCP_ESTABLISHED // the monitor is the peer: a socket that is no TCP socket
	}
	return int(info[0])
}
