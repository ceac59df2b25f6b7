package vsock

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// vector holds the arguments of sendmsg(2) and recvmsg(2). The calls never
// block, whatever the mode of the socket, and never raise SIGPIPE.
type vector struct {
	msg unix.Msghdr
	iov [64]unix.Iovec
}

// set sets the vector to n bytes of pieces, from skip on, or to fewer if the
// vector is full.
func (v *vector) set(pieces [][]byte, skip, n int) {
	used := 0
	for _, p := range pieces {
		if skip >= len(p) {
			skip -= len(p)
			continue
		}
		p = p[skip:]
		skip = 0
		p = p[:min(len(p), n)]
		n -= len(p)
		if len(p) == 0 || used == len(v.iov) {
			break
		}
		v.iov[used] = unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
		used++
	}
	v.msg = unix.Msghdr{Iov: &v.iov[0], Iovlen: uint64(used)}
}

func (v *vector) call(number uintptr, fd, flags int) (int, error) {
	for {
		n, _, errno := unix.Syscall(number, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), uintptr(flags|unix.MSG_DONTWAIT))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// send sends n bytes of pieces, from skip on. It returns how many bytes the
// socket took.
func (v *vector) send(fd int, pieces [][]byte, skip, n int) (int, error) {
	v.set(pieces, skip, n)
	n, err := v.call(unix.SYS_SENDMSG, fd, unix.MSG_NOSIGNAL)
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	return n, err
}

// receive receives at most n bytes into pieces, from skip on.
func (v *vector) receive(fd, flags int, pieces [][]byte, skip, n int) (int, error) {
	v.set(pieces, skip, n)
	return v.call(unix.SYS_RECVMSG, fd, flags)
}

// ring is a ring buffer of bufferSize bytes.
type ring struct {
	buf  []byte // allocated on first use
	head int
	n    int
}

// parts returns the contents in order.
func (r *ring) parts() [2][]byte {
	end := r.head + r.n
	if end <= len(r.buf) {
		return [2][]byte{r.buf[r.head:end]}
	}
	return [2][]byte{r.buf[r.head:], r.buf[:end-len(r.buf)]}
}

// put adds n bytes of pieces, from skip on. The ring must have room for them.
func (r *ring) put(pieces [][]byte, skip, n int) {
	if r.buf == nil {
		r.buf = make([]byte, bufferSize)
	}
	for _, p := range pieces {
		if skip >= len(p) {
			skip -= len(p)
			continue
		}
		p = p[skip:]
		skip = 0
		p = p[:min(len(p), n)]
		n -= len(p)
		for len(p) > 0 {
			at := (r.head + r.n) % len(r.buf)
			m := copy(r.buf[at:min(at+len(r.buf)-r.n, len(r.buf))], p)
			p = p[m:]
			r.n += m
		}
	}
}

// drop removes the first n bytes.
func (r *ring) drop(n int) {
	r.head = (r.head + n) % len(r.buf)
	r.n -= n
}
