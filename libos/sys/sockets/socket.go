package sockets

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/unix"
	"github.com/pith-os/pith/libos/virtio/vsock"
	"github.com/pith-os/pith/libos/wait"
)

// Start registers the address families that need no network. Package sys calls it
// once, before the first call of this package.
func Start() {
	unix.Register()
	unix.Umask = call.Umask.Load
	vsock.Register()
}

// socketOf returns the socket of a descriptor.
func socketOf(fd uintptr) (socket.Socket, linux.Errno) {
	f := call.Files.Get(int(int32(fd)))
	if f == nil {
		return nil, linux.EBADF
	}
	s, ok := f.(socket.Socket)
	if !ok {
		return nil, linux.ENOTSOCK
	}
	return s, 0
}

// socketFlags are the flags that a type argument may have.
const socketFlags = linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC

// maxType is one more than the largest SOCK_* type (SOCK_MAX).
const maxType = 11

// socketType splits a type argument into type and flags.
func socketType(domain int, arg uint32) (typ int, flags uint32, errno linux.Errno) {
	flags = arg &^ linux.SOCK_TYPE_MASK
	typ = int(arg & linux.SOCK_TYPE_MASK)
	switch {
	case flags&^socketFlags != 0:
		return 0, 0, linux.EINVAL
	case uint(domain) >= linux.AF_MAX:
		return 0, 0, linux.EAFNOSUPPORT
	case typ >= maxType:
		return 0, 0, linux.EINVAL
	}
	return typ, flags, 0
}

func sysSocket(a *call.Args) (uintptr, linux.Errno) {
	domain := int(int32(a.A0))
	typ, flags, errno := socketType(domain, uint32(a.A1))
	if errno != 0 {
		return 0, errno
	}
	s, errno := socket.New(domain, typ, int(int32(a.A2)))
	if errno != 0 {
		return 0, errno
	}
	s.SetFlags(flags & linux.SOCK_NONBLOCK)
	return call.Install(s, flags)
}

func sysSocketpair(a *call.Args) (uintptr, linux.Errno) {
	domain := int(int32(a.A0))
	typ, flags, errno := socketType(domain, uint32(a.A1))
	if errno != 0 {
		return 0, errno
	}
	out, errno := call.At[[2]int32](a.A3)
	if errno != 0 {
		return 0, errno
	}
	x, y, errno := socket.Pair(domain, typ, int(int32(a.A2)))
	if errno != 0 {
		return 0, errno
	}
	x.SetFlags(flags & linux.SOCK_NONBLOCK)
	y.SetFlags(flags & linux.SOCK_NONBLOCK)
	return 0, call.InstallPair(out, x, y, flags)
}

// sockaddr returns the caller's socket address of n bytes at addr.
func sockaddr(addr, n uintptr) ([]byte, linux.Errno) {
	if int32(n) < 0 || n > linux.SockaddrMax {
		return nil, linux.EINVAL
	}
	return call.Bytes(addr, n)
}

// storeSockaddr stores a socket address at addr, cut to the length at lenAddr. It
// stores the full length at lenAddr (accept(2)).
func storeSockaddr(sa []byte, addr, lenAddr uintptr) linux.Errno {
	n, errno := call.At[int32](lenAddr)
	if errno != 0 {
		return errno
	}
	if *n < 0 {
		return linux.EINVAL
	}
	to, errno := call.Bytes(addr, min(uintptr(*n), uintptr(len(sa))))
	if errno != 0 {
		return errno
	}
	copy(to, sa)
	*n = int32(len(sa))
	return 0
}

func sysBind(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	sa, errno := sockaddr(a.A1, a.A2)
	if errno != 0 {
		return 0, errno
	}
	return 0, s.Bind(sa)
}

func sysConnect(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	sa, errno := sockaddr(a.A1, a.A2)
	if errno != 0 {
		return 0, errno
	}
	_, timeout := s.Timeouts()
	end := linux.AddSaturated(platform.Nanotime(), max(timeout, 0))
	_, errno = call.Block(s, wait.Out, timeout, func() (uintptr, linux.Errno) { return 0, s.Connect(sa) })
	if errno != linux.EINPROGRESS && errno != linux.EALREADY || s.Flags()&linux.O_NONBLOCK != 0 {
		return 0, errno
	}
	if timeout >= 0 {
		timeout = max(end-platform.Nanotime(), 0)
	}
	_, errno = call.Block(s, wait.Out, timeout, func() (uintptr, linux.Errno) {
		if s.Ready()&(wait.Out|wait.Always) == 0 {
			return 0, linux.EAGAIN
		}
		v, errno := intOption(s, linux.SO_ERROR)
		if errno == 0 {
			errno = linux.Errno(v)
		}
		return 0, errno
	})
	if errno == linux.EAGAIN { // SO_SNDTIMEO is over; the attempt continues
		errno = linux.EINPROGRESS
	}
	return 0, errno
}

// intOption returns an option of SOL_SOCKET whose value is an int.
func intOption(s socket.Socket, name int) (int, linux.Errno) {
	var val [4]byte
	if _, errno := s.Option(linux.SOL_SOCKET, name, val[:]); errno != 0 {
		return 0, errno
	}
	return socket.GetInt(val[:])
}

func sysListen(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	return 0, s.Listen(int(min(uint32(a.A1), linux.SOMAXCONN)))
}

// accept is accept4(2).
func accept(a *call.Args, flags uint32) (uintptr, linux.Errno) {
	if flags&^socketFlags != 0 {
		return 0, linux.EINVAL
	}
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	var conn socket.Socket
	timeout, _ := s.Timeouts()
	_, errno = call.Block(s, wait.In, timeout, func() (_ uintptr, errno linux.Errno) {
		conn, errno = s.Accept()
		return 0, errno
	})
	if errno != 0 {
		return 0, errno
	}
	if a.A1 != 0 {
		sa, errno := conn.PeerAddr()
		if errno != 0 {
			errno = linux.ECONNABORTED
		} else {
			errno = storeSockaddr(sa, a.A1, a.A2)
		}
		if errno != 0 {
			conn.Release()
			return 0, errno
		}
	}
	conn.SetFlags(flags & linux.SOCK_NONBLOCK)
	return call.Install(conn, flags)
}

// socketName is getsockname(2) and getpeername(2).
func socketName(a *call.Args, name func(socket.Socket) ([]byte, linux.Errno)) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	sa, errno := name(s)
	if errno != 0 {
		return 0, errno
	}
	return 0, storeSockaddr(sa, a.A1, a.A2)
}

func sysShutdown(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	how := int(int32(a.A1))
	if how < linux.SHUT_RD || how > linux.SHUT_RDWR {
		return 0, linux.EINVAL
	}
	return 0, s.Shutdown(how)
}

func sysSetsockopt(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	if int32(a.A4) < 0 {
		return 0, linux.EINVAL
	}
	val, errno := call.Bytes(a.A3, uintptr(uint32(a.A4)))
	if errno != 0 {
		return 0, errno
	}
	return 0, s.SetOption(int(int32(a.A1)), int(int32(a.A2)), val)
}

func sysGetsockopt(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	n, errno := call.At[int32](a.A4)
	if errno != 0 {
		return 0, errno
	}
	if *n < 0 {
		return 0, linux.EINVAL
	}
	val, errno := call.Bytes(a.A3, uintptr(*n))
	if errno != 0 {
		return 0, errno
	}
	used, errno := s.Option(int(int32(a.A1)), int(int32(a.A2)), val)
	if errno == 0 {
		*n = int32(used)
	}
	return 0, errno
}
