package gateway

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

// Packet is one message of a link, in as many pieces as suit its owner: a
// virtio-net header (boot.VirtioNetHeaderSize bytes), then an Ethernet frame;
// together at most boot.MaxFrame bytes.
type Packet = [][]byte

// Link carries packets to and from one guest. One goroutine reads and one
// writes, at the same time. Close wakes both. One with a method NoOffload() bool
// that returns true carries neither large segments nor partial checksums, as by
// Config.NoOffload.
type Link interface {
	// ReadPackets waits for packets, fills the first n elements of pkts piece
	// by piece, and sets the same elements of sizes to the packets' lengths.
	// A packet longer than its element gets a size of zero. io.EOF says that
	// the guest closed the link.
	ReadPackets(pkts []Packet, sizes []int) (n int, err error)
	// WritePackets sends pkts in order and waits while there is no room.
	WritePackets(pkts []Packet) error
	Close() error
}

// batch is how many packets one call of a Link carries at most.
const batch = 16

// socketLink is a Link over a SOCK_SEQPACKET unix socket, one message a packet.
type socketLink struct {
	file *os.File
	raw  syscall.RawConn
	rx   transfer
	tx   transfer
}

// socketBuffer is asked for: some segments of 64 KiB under way keep both ends
// busy.
const socketBuffer = 4 << 20

// growBuffer enlarges the send buffer, which is what bounds a unix socket, as
// far as the host allows (net.core.wmem_max, but for the privileged). A smaller
// one is slower and no more.
func growBuffer(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
	}
}

// NewSocketLink is a link over fd, a connected SOCK_SEQPACKET unix socket. It
// owns fd unless it fails. The guest's end needs a large buffer too, which a
// confined guest cannot give itself.
func NewSocketLink(fd int) (Link, error) {
	if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || typ != unix.SOCK_SEQPACKET {
		return nil, errors.New("gateway: the link is not a SOCK_SEQPACKET socket")
	}
	growBuffer(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("gateway: make the link non-blocking: %w", err)
	}
	file := os.NewFile(uintptr(fd), "guest link")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	l := &socketLink{file: file, raw: raw}
	l.rx.init(unix.SYS_RECVMMSG)
	l.tx.init(unix.SYS_SENDMMSG)
	return l, nil
}

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
			// A message of no bytes is how recv reports the end.
			return i, endAfter(i)
		}
	}
	return n, nil
}

// endAfter is io.EOF unless n packets came before the end, which the next read
// finds again.
func endAfter(n int) error {
	if n > 0 {
		return nil
	}
	return io.EOF
}

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

// transfer is one direction of a socketLink: arguments and results of
// recvmmsg(2) or sendmmsg(2), kept so that a transfer allocates nothing.
type transfer struct {
	call  func(fd uintptr) bool
	msgs  [batch]mmsghdr
	iovs  []unix.Iovec
	n     int
	done  int
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

// set prepares pkts, or as many as one call takes, and returns their number.
func (t *transfer) set(pkts []Packet) int {
	t.n = min(len(pkts), batch)
	pieces := 0
	for _, p := range pkts[:t.n] {
		pieces += len(p)
	}
	if cap(t.iovs) < pieces {
		t.iovs = make([]unix.Iovec, 0, max(pieces, 2*batch))
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
