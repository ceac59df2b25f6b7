package inet

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A network device ends when what is behind it fails, and it does not come
// back. Nothing that the program does with it may wait then. Connections end.
// Each listener and datagram socket that is not bound to loopback reports once
// the error that Linux has for sockets of a removed device (ENETDOWN).

// plugged is the link of the instance's network. It is nil before the network
// is used, and without a device.
var plugged atomic.Pointer[link]

// networkDown reports whether that link has ended.
func networkDown() bool {
	l := plugged.Load()
	if l == nil {
		return false
	}
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// unplug removes the device of l, which has ended, from s.
func unplug(s *stack.Stack, l *link) {
	s.DisableNIC(etherNIC) // fails only when the stack is closed
	for _, ep := range s.RegisteredEndpoints() {
		if e, ok := ep.(*tcp.Endpoint); ok && e.EndpointState() != tcp.StateListen && !isLoopback(e.Info().(*stack.TransportEndpointInfo).ID.LocalAddress) {
			e.Abort()
		}
	}
	if plugged.Load() != l {
		return
	}
	call.Files.Each(func(_ int, f file.File) {
		switch s := f.(type) {
		case *stream:
			if s.state() == tcp.StateListen && s.published.Load() == nil {
				s.unplug()
			}
		case *datagram:
			s.unplug()
		case *packetSocket:
			s.unplug()
		}
	})
}

func isLoopback(a tcpip.Address) bool {
	a = unmapped(a)
	return a == header.IPv6Loopback || header.IsV4LoopbackAddress(a)
}

// unplug makes the socket report that the device has ended.
func (s *base) unplug() {
	if local, _ := s.addresses(); local.NIC == loopbackNIC || isLoopback(local.Addr) {
		return
	}
	s.down.Store(true)
	s.Queue.Notify(wait.In | wait.Err)
}

// orDown returns errno. Instead of EAGAIN, it returns ENETDOWN once after the
// device has ended.
func (s *base) orDown(errno linux.Errno) linux.Errno {
	if errno == linux.EAGAIN && s.down.Load() && s.down.Swap(false) {
		return linux.ENETDOWN
	}
	return errno
}
