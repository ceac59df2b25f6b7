package vsock

import (
	"math"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
)

// remembered reports whether a socket accepts the option without acting on it.
func remembered(name int) bool {
	switch name {
	case linux.SO_DEBUG, linux.SO_REUSEADDR, linux.SO_DONTROUTE, linux.SO_SNDBUF, linux.SO_RCVBUF,
		linux.SO_KEEPALIVE, linux.SO_PRIORITY, linux.SO_MARK:
		return true
	}
	return false
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(level, name int, val []byte) linux.Errno {
	if level == linux.AF_VSOCK {
		return s.setOwn(name, val)
	}
	if errno := s.Base.SetOption(level, name, val); errno != linux.ENOPROTOOPT {
		return errno
	}
	if level != linux.SOL_SOCKET || !remembered(name) {
		return linux.ENOPROTOOPT
	}
	v, errno := socket.GetInt(val)
	if errno != 0 {
		return errno
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.ints == nil {
		s.ints = map[int]int{}
	}
	s.ints[name] = v
	return 0
}

// setOwn sets an option of level AF_VSOCK.
func (s *Socket) setOwn(name int, val []byte) linux.Errno {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch name {
	case linux.SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, linux.SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW:
		tv, errno := socket.Get[linux.Timeval](val)
		switch {
		case errno != 0:
			return errno
		case tv.Sec < 0 || tv.Usec < 0 || tv.Usec >= 1e6 || tv.Sec > 1<<32:
			return linux.ERANGE
		}
		if s.timeout = tv.Sec*1e9 + tv.Usec*1e3; s.timeout == 0 {
			s.timeout = defaultTimeout
		}
		return 0
	}
	v, errno := socket.Get[uint64](val)
	if errno != 0 {
		return errno
	}
	size := uint32(min(v, math.MaxInt32))
	switch name {
	case linux.SO_VM_SOCKETS_BUFFER_SIZE:
	case linux.SO_VM_SOCKETS_BUFFER_MIN_SIZE:
		s.minLimit, size = size, s.limit
	case linux.SO_VM_SOCKETS_BUFFER_MAX_SIZE:
		s.maxLimit, size = size, s.limit
	default:
		return linux.ENOPROTOOPT
	}
	s.limit = max(min(size, s.maxLimit), s.minLimit)
	s.ceiling = max(s.ceiling, s.limit)
	if s.state == connected && !s.done {
		s.send(opCreditUpdate, 0)
	}
	return 0
}

// Option implements socket.Socket.
func (s *Socket) Option(level, name int, val []byte) (int, linux.Errno) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch {
	case level == linux.AF_VSOCK:
		return s.own(name, val)
	case level != linux.SOL_SOCKET:
		return 0, linux.ENOPROTOOPT
	case name == linux.SO_ERROR:
		return socket.PutInt(val, int(s.takeError())), 0
	case name == linux.SO_ACCEPTCONN:
		return socket.PutBool(val, s.state == listening), 0
	case remembered(name):
		return socket.PutInt(val, s.ints[name]), 0
	}
	return s.Base.Option(level, name, val)
}

func (s *Socket) own(name int, val []byte) (int, linux.Errno) {
	if len(val) < 8 {
		return 0, linux.EINVAL
	}
	switch name {
	case linux.SO_VM_SOCKETS_BUFFER_SIZE:
		return socket.Put(val, uint64(s.limit)), 0
	case linux.SO_VM_SOCKETS_BUFFER_MIN_SIZE:
		return socket.Put(val, uint64(s.minLimit)), 0
	case linux.SO_VM_SOCKETS_BUFFER_MAX_SIZE:
		return socket.Put(val, uint64(s.maxLimit)), 0
	case linux.SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, linux.SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW:
		return socket.Put(val, linux.Timeval{Sec: s.timeout / 1e9, Usec: s.timeout % 1e9 / 1e3}), 0
	}
	return 0, linux.ENOPROTOOPT
}

// Ioctl implements file.File.
func (s *Socket) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	if req != linux.FIONREAD {
		return 0, linux.ENOTTY
	}
	if arg < platform.PageSize {
		return 0, linux.EFAULT
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	*(*int32)(platform.Pointer(arg)) = int32(s.unread)
	return 0, 0
}
