package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketLink is a Link over a SOCK_SEQPACKET unix socket, one message per packet.
type socketLink struct {
	file *os.File
	raw  syscall.RawConn
	rx   transfer
	tx   transfer
}

// socketBuffer is the size in bytes that growBuffer asks for. It holds enough
// segments of 64 KiB to keep both ends busy.
const socketBuffer = 4 << 20

// growBuffer enlarges the send buffer, which is what bounds a unix socket. An
// unprivileged process gets no more than net.core.wmem_max. A smaller buffer
// only makes the link slower, so errors are ignored.
func growBuffer(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
	}
}

// NewSocket returns a link over fd, a connected SOCK_SEQPACKET unix socket. The
// link owns fd unless NewSocket fails. The guest's end of the socket needs a
// large send buffer too, which a confined guest cannot set itself.
func NewSocket(fd int) (Link, error) { return newSocket(fd) }

func newSocket(fd int) (*socketLink, error) {
	if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || typ != unix.SOCK_SEQPACKET {
		return nil, errors.New("link: the descriptor is not a SOCK_SEQPACKET socket")
	}
	growBuffer(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("link: make the socket non-blocking: %w", err)
	}
	file := os.NewFile(uintptr(fd), "guest link")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &socketLink{file: file, raw: raw}
	l.rx.init(unix.SYS_RECVMMSG)
	l.tx.init(unix.SYS_SENDMMSG)
	return l, nil
}

// ReadPackets implements Link.
func (l *socketLink) ReadPackets(pkts []Packet, sizes []int) (int, error) {
	n := l.rx.set(pkts)
	if err := l.raw.Read(l.rx.call); err != nil {
		return 0, closedIsEOF(err)
	}
	switch {
	case l.rx.errno == unix.ECONNRESET:
		return 0, io.EOF
	case l.rx.errno != 0:
		return 0, os.NewSyscallError("recvmmsg", l.rx.errno)
	}
	n = min(n, l.rx.done)
	for i := range n {
		h := &l.rx.msgs[i]
		sizes[i] = int(h.len)
		if h.hdr.Flags&unix.MSG_TRUNC != 0 {
			sizes[i] = 0
		} else if h.len == 0 {
			// recvmmsg(2) reports the end as a message of no bytes.
			return i, endAfter(i)
		}
	}
	return n, nil
}

// endAfter returns io.EOF, or nil if n packets came before the end. The next
// read finds the end again.
func endAfter(n int) error {
	if n > 0 {
		return nil
	}
	return io.EOF
}

// WritePackets implements Link.
func (l *socketLink) WritePackets(pkts []Packet) error {
	for len(pkts) > 0 {
		l.tx.set(pkts)
		if err := l.raw.Write(l.tx.call); err != nil {
			return closedIsEOF(err)
		}
		switch l.tx.errno {
		case 0:
		case unix.EPIPE, unix.ECONNRESET:
			return io.EOF
		default:
			return os.NewSyscallError("sendmmsg", l.tx.errno)
		}
		pkts = pkts[l.tx.done:]
	}
	return nil
}

// Offload implements Link.
func (l *socketLink) Offload() bool { return true }

// Done implements Link.
func (l *socketLink) Done() <-chan struct{} { return nil }

// Close implements Link.
func (l *socketLink) Close() error { return l.file.Close() }

func closedIsEOF(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return io.EOF
	}
	return err
}

// mmsghdr is struct mmsghdr of recvmmsg(2) on 64-bit Linux.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// transfer holds the arguments and results of recvmmsg(2) or sendmmsg(2) for one
// direction of a socketLink. They are reused, so a transfer does not allocate.
type transfer struct {
	call  func(fd uintptr) bool
	msgs  [Batch]mmsghdr
	iovs  []unix.Iovec
	n     int // packets given to the call
	done  int // packets that it moved
	errno syscall.Errno
}

func (t *transfer) init(trap uintptr) {
	t.call = func(fd uintptr) bool {
		r, _, e := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&t.msgs)), uintptr(t.n), unix.MSG_DONTWAIT, 0, 0)
		for e == unix.EINTR {
			r, _, e = unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&t.msgs)), uintptr(t.n), unix.MSG_DONTWAIT, 0, 0)
		}
		t.done, t.errno = int(r), e
		return e != unix.EAGAIN
	}
}

// set prepares the first packets of pkts, at most Batch, and returns their
// number.
func (t *transfer) set(pkts []Packet) int {
	t.n = min(len(pkts), Batch)
	pieces := 0
	for _, p := range pkts[:t.n] {
		pieces += len(p)
	}
	if cap(t.iovs) < pieces {
		t.iovs = make([]unix.Iovec, 0, max(pieces, 2*Batch))
	}
	t.iovs = t.iovs[:0]
	for i, p := range pkts[:t.n] {
		h := &t.msgs[i]
		*h = mmsghdr{}
		first := len(t.iovs)
		for _, piece := range p {
			if len(piece) > 0 {
				iov := unix.Iovec{Base: unsafe.SliceData(piece)}
				iov.SetLen(len(piece))
				t.iovs = append(t.iovs, iov)
			}
		}
		if len(t.iovs) > first {
			h.hdr.Iov = &t.iovs[first]
			h.hdr.SetIovlen(len(t.iovs) - first)
		}
	}
	return t.n
}
