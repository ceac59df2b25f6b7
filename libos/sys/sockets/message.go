package sockets

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"
)

// message is a socket.Message with room for its usual parts: a call allocates once.
type message struct {
	socket.Message
	data [1][]byte
	addr [32]byte
}

func newMessage(buf []byte) *message {
	m := new(message)
	m.data[0] = buf
	m.Data = m.data[:]
	return m
}

// socketAndMessage returns the socket of descriptor a.A0 and a message of the a.A2
// bytes at a.A1.
func socketAndMessage(a *call.Args) (socket.Socket, *message, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return nil, nil, errno
	}
	buf, errno := call.Bytes(a.A1, min(a.A2, linux.MAX_RW_COUNT))
	if errno != 0 {
		return nil, nil, errno
	}
	return s, newMessage(buf), 0
}

func sysSendto(a *call.Args) (uintptr, linux.Errno) {
	s, m, errno := socketAndMessage(a)
	if errno != 0 {
		return 0, errno
	}
	if a.A4 != 0 {
		if m.Addr, errno = sockaddr(a.A4, a.A5); errno != 0 {
			return 0, errno
		}
	}
	return send(s, &m.Message, int(int32(a.A3)))
}

// send sends m. On a blocking stream it sends all of m.
func send(s socket.Socket, m *socket.Message, flags int) (uintptr, linux.Errno) {
	if flags&linux.MSG_OOB != 0 {
		return 0, linux.EOPNOTSUPP
	}
	try := func(uintptr) (uintptr, linux.Errno) {
		n, errno := s.Send(m, flags&^(linux.MSG_DONTWAIT|linux.MSG_NOSIGNAL))
		if errno == 0 {
			m.Advance(n)
			m.Control, m.Files = nil, nil // they go with the first byte
		}
		return uintptr(n), errno
	}
	var n uintptr
	var errno linux.Errno
	if flags&linux.MSG_DONTWAIT != 0 {
		n, errno = try(0)
	} else {
		_, timeout := s.Timeouts()
		n, errno = call.TransferAll(s, wait.Out, timeout, uintptr(m.Len()), try)
	}
	if errno == linux.EPIPE && flags&linux.MSG_NOSIGNAL == 0 {
		call.BrokenPipe()
	}
	return n, errno
}

func sysRecvfrom(a *call.Args) (uintptr, linux.Errno) {
	s, m, errno := socketAndMessage(a)
	if errno != 0 {
		return 0, errno
	}
	m.Addr = m.addr[:0]
	n, errno := recv(s, &m.Message, int(int32(a.A3)))
	if errno != 0 {
		return 0, errno
	}
	dropFiles(&m.Message)
	if a.A4 != 0 {
		errno = storeSockaddr(m.Addr, a.A4, a.A5)
	}
	return n, errno
}

// Readv is readv(2) of a socket: one datagram fills all parts.
func Readv(s socket.Socket, parts [][]byte) (uintptr, linux.Errno) {
	m := socket.Message{Data: parts}
	if m.Len() == 0 { // unlike recv(2), reading nothing takes nothing
		return 0, 0
	}
	n, errno := recv(s, &m, 0)
	dropFiles(&m)
	return n, errno
}

// Writev is writev(2) to a socket: all parts are one datagram.
func Writev(s socket.Socket, parts [][]byte) (uintptr, linux.Errno) {
	m := socket.Message{Data: parts}
	if m.Len() == 0 { // unlike send(2), writing nothing sends nothing
		return 0, 0
	}
	return send(s, &m, 0)
}

// recv receives into m. With MSG_WAITALL it fills m from a stream.
func recv(s socket.Socket, m *socket.Message, flags int) (uintptr, linux.Errno) {
	if flags&linux.MSG_OOB != 0 {
		return 0, linux.EOPNOTSUPP
	}
	pass := flags &^ (linux.MSG_DONTWAIT | linux.MSG_WAITALL | linux.MSG_CMSG_CLOEXEC | linux.MSG_NOSIGNAL)
	try := func() (uintptr, linux.Errno) {
		n, errno := s.Recv(m, pass)
		return uintptr(n), errno
	}
	if flags&(linux.MSG_DONTWAIT|linux.MSG_ERRQUEUE) != 0 {
		return try()
	}
	timeout, _ := s.Timeouts()
	if flags&linux.MSG_WAITALL != 0 && flags&linux.MSG_PEEK == 0 {
		if typ, errno := intOption(s, linux.SO_TYPE); errno == 0 && typ == linux.SOCK_STREAM {
			return call.TransferAll(s, wait.In, timeout, uintptr(m.Len()), func(uintptr) (uintptr, linux.Errno) {
				n, errno := try()
				if errno == 0 {
					m.Advance(int(n))
				}
				return n, errno
			})
		}
	}
	return call.Block(s, wait.In, timeout, try)
}

// readMsghdr returns the message to send from a struct msghdr. The message holds
// references to the files that it passes.
func readMsghdr(h *linux.Msghdr, domain int) (*message, linux.Errno) {
	m := newMessage(nil)
	var errno linux.Errno
	if h.Name != 0 && h.Namelen != 0 {
		if m.Addr, errno = sockaddr(h.Name, uintptr(min(h.Namelen, linux.SockaddrMax))); errno != 0 {
			return nil, errno
		}
	}
	if m.Data, errno = msgBuffers(h); errno != 0 {
		return nil, errno
	}
	if h.Controllen > 1<<31-1 {
		return nil, linux.ENOBUFS
	}
	control, errno := call.Bytes(h.Control, uintptr(h.Controllen))
	if errno != 0 {
		return nil, errno
	}
	if errno = readControl(&m.Message, control, domain); errno != 0 {
		dropFiles(&m.Message)
		return nil, errno
	}
	return m, 0
}

// msgBuffers returns the buffers of a struct msghdr.
func msgBuffers(h *linux.Msghdr) ([][]byte, linux.Errno) {
	if h.Iovlen > linux.IOV_MAX {
		return nil, linux.EMSGSIZE
	}
	return call.Vectors(h.Iov, uintptr(h.Iovlen))
}

// sendmsg is sendmsg(2) on s.
func sendmsg(s socket.Socket, h *linux.Msghdr, flags int) (uintptr, linux.Errno) {
	domain, errno := intOption(s, linux.SO_DOMAIN)
	if errno != 0 {
		return 0, errno
	}
	m, errno := readMsghdr(h, domain)
	if errno != 0 {
		return 0, errno
	}
	n, errno := send(s, &m.Message, flags)
	if errno != 0 {
		dropFiles(&m.Message)
	}
	return n, errno
}

func sysSendmsg(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	h, errno := call.At[linux.Msghdr](a.A1)
	if errno != 0 {
		return 0, errno
	}
	return sendmsg(s, h, int(int32(a.A2)))
}

// recvmsg is recvmsg(2) on s.
func recvmsg(s socket.Socket, h *linux.Msghdr, flags int) (uintptr, linux.Errno) {
	m := newMessage(nil)
	m.Addr = m.addr[:0]
	var errno linux.Errno
	if m.Data, errno = msgBuffers(h); errno != 0 {
		return 0, errno
	}
	control, errno := call.Bytes(h.Control, uintptr(h.Controllen))
	if errno != 0 {
		return 0, errno
	}
	n, errno := recv(s, &m.Message, flags)
	if errno != 0 {
		return 0, errno
	}
	cloexec := flags & linux.MSG_CMSG_CLOEXEC
	h.Controllen = uint64(writeControl(&m.Message, control, cloexec != 0))
	h.Flags = int32(m.Flags | cloexec)
	if h.Name != 0 {
		name, errno := call.Bytes(h.Name, min(uintptr(h.Namelen), uintptr(len(m.Addr))))
		if errno != 0 {
			return 0, errno
		}
		copy(name, m.Addr)
		h.Namelen = uint32(len(m.Addr))
	}
	return n, 0
}

func sysRecvmsg(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	h, errno := call.At[linux.Msghdr](a.A1)
	if errno != 0 {
		return 0, errno
	}
	return recvmsg(s, h, int(int32(a.A2)))
}

// mmsghdrs returns the caller's structures at addr: n, but at most IOV_MAX, as on
// Linux.
func mmsghdrs(addr, n uintptr) ([]linux.Mmsghdr, linux.Errno) {
	n = min(uintptr(uint32(n)), linux.IOV_MAX)
	if n == 0 {
		return nil, 0
	}
	if addr < platform.PageSize {
		return nil, linux.EFAULT
	}
	return unsafe.Slice((*linux.Mmsghdr)(platform.Pointer(addr)), n), 0
}

// sysSendmmsg is sendmmsg(2). It leaves an error after the first message to the next
// call.
func sysSendmmsg(a *call.Args) (uintptr, linux.Errno) {
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	hdrs, errno := mmsghdrs(a.A1, a.A2)
	if errno != 0 {
		return 0, errno
	}
	for i := range hdrs {
		n, errno := sendmsg(s, &hdrs[i].Hdr, int(int32(a.A3)))
		if errno != 0 {
			if i == 0 {
				return 0, errno
			}
			return uintptr(i), 0
		}
		hdrs[i].Len = uint32(n)
	}
	return uintptr(len(hdrs)), 0
}

// sysRecvmmsg is recvmmsg(2). It checks the timeout after each message (recvmmsg(2),
// "BUGS").
func sysRecvmmsg(a *call.Args) (uintptr, linux.Errno) {
	timeout, errno := call.Timeout(a.A4)
	if errno != 0 {
		return 0, errno
	}
	s, errno := socketOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	hdrs, errno := mmsghdrs(a.A1, a.A2)
	if errno != 0 {
		return 0, errno
	}
	start, flags, got := platform.Nanotime(), int(int32(a.A3)), 0
	for i := range hdrs {
		n, errno := recvmsg(s, &hdrs[i].Hdr, flags&^linux.MSG_WAITFORONE)
		if errno != 0 {
			if i == 0 {
				return 0, errno
			}
			break
		}
		hdrs[i].Len = uint32(n)
		got++
		if flags&linux.MSG_WAITFORONE != 0 {
			flags |= linux.MSG_DONTWAIT
		}
		if timeout >= 0 && call.Left(start, timeout) == 0 {
			break
		}
	}
	if timeout >= 0 {
		*(*linux.Timespec)(platform.Pointer(a.A4)) = linux.TimespecOf(call.Left(start, timeout))
	}
	return uintptr(got), 0
}
