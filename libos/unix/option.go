package unix

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
)

// Limits of SO_SNDBUF and SO_RCVBUF: net.core.wmem_max, and the minimum that
// Linux sets.
const (
	maxSize = defaultSize
	minSend = 4608
	minRecv = 2304
)

// remembered reports whether a unix socket accepts the option without acting on
// it.
func remembered(name int) bool {
	switch name {
	case linux.SO_DEBUG, linux.SO_REUSEADDR, linux.SO_DONTROUTE, linux.SO_BROADCAST, linux.SO_KEEPALIVE,
		linux.SO_OOBINLINE, linux.SO_PRIORITY, linux.SO_RCVLOWAT, linux.SO_MARK:
		return true
	}
	return false
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(level, name int, val []byte) linux.Errno {
	if level != linux.SOL_SOCKET {
		return linux.EOPNOTSUPP
	}
	if name == linux.SO_LINGER {
		_, errno := socket.Get[linux.Linger](val)
		return errno
	}
	if errno := s.Base.SetOption(level, name, val); errno != linux.ENOPROTOOPT {
		return errno
	}
	v, errno := socket.GetInt(val)
	if errno != 0 {
		return errno
	}
	switch name {
	case linux.SO_SNDBUF, linux.SO_SNDBUFFORCE:
		s.sendSize.Store(int64(max(2*min(v, maxSize), minSend)))
	case linux.SO_RCVBUF, linux.SO_RCVBUFFORCE:
		s.recvSize.Store(int64(max(2*min(v, maxSize), minRecv)))
	case linux.SO_PASSCRED:
		s.passCred.Store(v != 0)
	default:
		if !remembered(name) {
			return linux.ENOPROTOOPT
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ints == nil {
			s.ints = make(map[int]int)
		}
		s.ints[name] = v
	}
	return 0
}

// Option implements socket.Socket.
func (s *Socket) Option(level, name int, val []byte) (int, linux.Errno) {
	if level != linux.SOL_SOCKET {
		return 0, linux.EOPNOTSUPP
	}
	switch name {
	case linux.SO_SNDBUF:
		return socket.PutInt(val, int(s.sendSize.Load())), 0
	case linux.SO_RCVBUF:
		return socket.PutInt(val, int(s.recvSize.Load())), 0
	case linux.SO_PASSCRED:
		return socket.PutBool(val, s.passCred.Load()), 0
	case linux.SO_PEERCRED:
		return socket.Put(val, *s.creds.Load()), 0
	case linux.SO_LINGER:
		return socket.Put(val, linux.Linger{}), 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case name == linux.SO_ERROR:
		return socket.PutInt(val, int(s.takeError())), 0
	case name == linux.SO_ACCEPTCONN:
		return socket.PutBool(val, s.state == listening), 0
	case remembered(name):
		v, ok := s.ints[name]
		if name == linux.SO_RCVLOWAT && !ok {
			v = 1
		}
		return socket.PutInt(val, v), 0
	}
	return s.Base.Option(level, name, val)
}

// Ioctl implements file.File.
func (s *Socket) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	var v int32
	switch req {
	case linux.FIONREAD:
		s.mu.Lock()
		if s.state == listening {
			s.mu.Unlock()
			return 0, linux.EINVAL
		}
		for i, p := range s.queue {
			if s.connects() || i == 0 { // datagrams: only the next one counts
				v += int32(len(p.data) - p.off)
			}
		}
		s.mu.Unlock()
	case linux.TIOCOUTQ:
		v = int32(s.unread.Load())
	default:
		return 0, linux.ENOTTY
	}
	if arg < platform.PageSize {
		return 0, linux.EFAULT
	}
	*(*int32)(platform.Pointer(arg)) = v
	return 0, 0
}
