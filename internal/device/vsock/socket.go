package vsock

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// vector is what sendmsg(2) and recvmsg(2) need; they are what does not wait on
// any socket, whoever made it, and raises no signal.
type vector struct {
	msg unix.Msghdr
	iov [64]unix.Iovec
}

// set has the vector be at most n bytes of pieces, from skip on: as much as fits.
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

// send sends n bytes of pieces from skip on, or as many of them as the socket
// takes now.
func (v *vector) send(fd int, pieces [][]byte, skip, n int) (int, error) {
	v.set(pieces, skip, n)
	n, err := v.call(unix.SYS_SENDMSG, fd, unix.MSG_NOSIGNAL)
	if errors.Is(err, unix.EAGAIN) {
		return 0, nil
	}
	return n, err
}

// receive receives up to n bytes to pieces from skip on.
func (v *vector) receive(fd, flags int, pieces [][]byte, skip, n int) (int, error) {
	v.set(pieces, skip, n)
	return v.call(unix.SYS_RECVMSG, fd, flags)
}

// ring is bytes that wait, up to bufferSize.
type ring struct {
	buf  []byte // nil before the first are kept
	head int
	n    int
}

// parts is what is kept, in its order.
func (r *ring) parts() [2][]byte {
	end := r.head + r.n
	if end <= len(r.buf) {
		return [2][]byte{r.buf[r.head:end]}
	}
	return [2][]byte{r.buf[r.head:], r.buf[:end-len(r.buf)]}
}

// put keeps n bytes of pieces from skip on, for which there is room.
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

// drop forgets the first n bytes.
func (r *ring) drop(n int) {
	r.head = (r.head + n) % len(r.buf)
	r.n -= n
}
