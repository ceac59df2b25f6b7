package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"

	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// Request types (virtio 1.2 §5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// Status values of a request.
const (
	statusOK          = 0
	statusError       = 1
	statusUnsupported = 2
)

const (
	headerSize = 16 // struct virtio_blk_req up to its data: type u32, reserved u32, sector u64
	rangeSize  = 16 // struct virtio_blk_discard_write_zeroes: sector u64, sectors u32, flags u32
	idSize     = 20

	// flagUnmap is a flag of typeWriteZeroes: the host may free the disk space of
	// the range.
	flagUnmap = 1
)

// maxPieces is the maximum of pieces of guest memory that hold the data of a
// request. A buffer consists of two pieces if it crosses the border of two
// adjoining regions. The first and the last buffer can also hold the header and
// the status.
const maxPieces = 2*maxSegments + 2

// request holds the request that a goroutine processes.
type request struct {
	d     *Device
	chain virtqueue.Chain
	timer *time.Timer // nil until the first wait for a rate limit
	iov   [maxPieces]unix.Iovec
}

func newRequest(d *Device) *request { return &request{d: d} }

// serve executes the request in chain and stores its status. It reports false,
// and does nothing, if the device is stopped while the request waits for a rate
// limit.
func (r *request) serve() (written int, ok bool) {
	c := &r.chain
	n := c.OutLen - headerSize // data that the device reads
	if n < 0 {
		return r.finish(statusError, 0), true
	}
	var header [headerSize]byte
	gather(header[:], c.Out, 0)
	typ, at := binary.LittleEndian.Uint32(header[0:]), binary.LittleEndian.Uint64(header[8:])
	room := c.InLen - 1 // data that the device writes
	moved := 0
	switch typ {
	case typeIn:
		moved = room
	case typeOut:
		moved = n
	}
	if !r.wait(r.d.throttle.delay(min(moved, maxRequest))) {
		return 0, false
	}
	status, filled := byte(statusError), 0
	switch {
	case typ == typeIn && n == 0:
		if status = r.transfer(unix.SYS_PREADV, c.In, 0, at, room); status == statusOK {
			filled = room
		}
	case typ == typeOut && room == 0 && !r.d.info.ReadOnly:
		status = r.transfer(unix.SYS_PWRITEV, c.Out, headerSize, at, n)
		if status == statusOK && r.d.through {
			status = r.flush()
		}
	case typ == typeIn, typ == typeOut: // the data buffers do not fit the type
	case typ == typeFlush:
		status = r.flush()
	case typ == typeGetID && room >= idSize:
		var id [idSize]byte
		copy(id[:], r.d.info.ID)
		scatter(c.In, id[:], 0)
		status = statusOK
		if room == idSize {
			filled = room
		}
	case typ == typeGetID:
	case (typ == typeDiscard || typ == typeWriteZeroes) && !r.d.info.ReadOnly:
		status = r.clear(typ, n)
	default:
		status = statusUnsupported
	}
	return r.finish(status, filled), true
}

// finish stores the status. It returns the used length: the number of bytes
// from the start of the buffers that the device wrote. filled is the number of
// data bytes. If they do not reach up to the status, the used length is 0.
func (r *request) finish(status byte, filled int) int {
	in := r.chain.In
	last := in[len(in)-1]
	last[len(last)-1] = status
	if filled+1 == r.chain.InLen {
		return filled + 1
	}
	return 0
}

// wait waits for a rate limit. It reports false if the device is stopped.
func (r *request) wait(delay time.Duration) bool {
	if delay <= 0 {
		return true
	}
	if r.timer == nil {
		r.timer = time.NewTimer(delay)
	} else {
		r.timer.Reset(delay)
	}
	select {
	case <-r.timer.C:
		return true
	case <-r.d.stopping:
		r.timer.Stop()
		return false
	}
}

// span converts n bytes at sector at to an offset in the file. It reports false
// if they are not on the disk, or are not whole blocks.
func (d *Device) span(at uint64, n int64) (off int64, ok bool) {
	if at > uint64(d.info.Size/sector) {
		return 0, false
	}
	off = int64(at) * sector
	if block := int64(d.info.BlockSize); d.info.Direct && (off|n)%block != 0 || n%sector != 0 {
		return 0, false
	}
	return off, n > 0 && n <= d.info.Size-off
}

// transfer reads n bytes at sector at into pieces, or writes them from pieces.
// It skips the first skip bytes of pieces.
func (r *request) transfer(call uintptr, pieces [][]byte, skip int, at uint64, n int) byte {
	off, ok := r.d.span(at, int64(n))
	if !ok || n > maxRequest {
		return statusError
	}
	iov, plain, ok := r.vector(pieces, skip, n)
	if !ok {
		return statusError
	}
	var err error
	switch {
	case plain:
		err = r.d.move(call, iov, off)
	case call == unix.SYS_PREADV:
		err = r.readBounced(pieces, off, n)
	default:
		err = r.writeBounced(pieces, skip, off, n)
	}
	if err != nil {
		r.d.failed(fmt.Errorf("transfer of %d bytes at %d: %w", n, off, err))
		return statusError
	}
	return statusOK
}

// vector builds an I/O vector for n bytes of pieces, from skip on. plain
// reports whether the kernel can use these addresses directly. ok is false if
// there are too many pieces.
func (r *request) vector(pieces [][]byte, skip, n int) (iov []unix.Iovec, plain, ok bool) {
	iov, plain = r.iov[:0], true
	for _, p := range pieces {
		if skip >= len(p) {
			skip -= len(p)
			continue
		}
		p = p[skip:]
		skip = 0
		p = p[:min(len(p), n)]
		n -= len(p)
		if len(p) == 0 {
			break
		}
		if len(iov) == cap(iov) {
			return nil, false, false
		}
		iov = append(iov, unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))})
		if r.d.info.Direct && (uintptr(unsafe.Pointer(unsafe.SliceData(p)))|uintptr(len(p)))%uintptr(r.d.info.BlockSize) != 0 {
			plain = false
		}
	}
	return iov, plain, true
}

// move calls preadv(2) or pwritev(2) until all of iov is transferred. It
// modifies iov.
func (d *Device) move(call uintptr, iov []unix.Iovec, off int64) error {
	for len(iov) > 0 {
		n, _, errno := unix.Syscall6(call, uintptr(d.fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)), uintptr(off), 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return errno
		case n == 0:
			return io.ErrUnexpectedEOF // another program truncated the file
		}
		off += int64(n)
		for len(iov) > 0 && n >= uintptr(iov[0].Len) {
			n -= uintptr(iov[0].Len)
			iov = iov[1:]
		}
		if n > 0 {
			iov[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(iov[0].Base), n))
			iov[0].Len -= uint64(n)
		}
	}
	return nil
}

// one returns an I/O vector for b.
func (r *request) one(b []byte) []unix.Iovec {
	r.iov[0] = unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
	return r.iov[:1]
}

// readBounced reads n bytes at off into pieces, through the bounce buffer.
func (r *request) readBounced(pieces [][]byte, off int64, n int) error {
	b := &r.d.bounce
	b.mu.Lock()
	defer b.mu.Unlock()
	for done := 0; done < n; {
		part := b.buf[:min(len(b.buf), n-done)]
		if err := r.d.move(unix.SYS_PREADV, r.one(part), off+int64(done)); err != nil {
			return err
		}
		scatter(pieces, part, done)
		done += len(part)
	}
	return nil
}

// writeBounced writes n bytes of pieces, from skip on, to off, through the
// bounce buffer.
func (r *request) writeBounced(pieces [][]byte, skip int, off int64, n int) error {
	b := &r.d.bounce
	b.mu.Lock()
	defer b.mu.Unlock()
	for done := 0; done < n; {
		part := b.buf[:min(len(b.buf), n-done)]
		gather(part, pieces, skip+done)
		if err := r.d.move(unix.SYS_PWRITEV, r.one(part), off+int64(done)); err != nil {
			return err
		}
		done += len(part)
	}
	return nil
}

// gather fills p from pieces, from skip on.
func gather(p []byte, pieces [][]byte, skip int) {
	for _, from := range pieces {
		if skip >= len(from) {
			skip -= len(from)
			continue
		}
		p = p[copy(p, from[skip:]):]
		skip = 0
	}
}

// scatter copies p to pieces, from skip on.
func scatter(pieces [][]byte, p []byte, skip int) {
	for _, to := range pieces {
		if skip >= len(to) {
			skip -= len(to)
			continue
		}
		p = p[copy(to[skip:], p):]
		skip = 0
	}
}

// flush makes all completed writes durable.
func (r *request) flush() byte {
	for {
		err := unix.Fdatasync(r.d.fd)
		switch {
		case err == nil:
			return statusOK
		case errors.Is(err, unix.EINTR):
		default:
			r.d.failed(fmt.Errorf("fdatasync: %w", err))
			return statusError
		}
	}
}

// clear executes typeDiscard and typeWriteZeroes requests. n is the length of
// the payload (§5.2.6.2).
func (r *request) clear(typ uint32, n int) byte {
	if n != rangeSize {
		return statusError
	}
	var b [rangeSize]byte
	gather(b[:], r.chain.Out, headerSize)
	at, sectors, flags := binary.LittleEndian.Uint64(b[0:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	modes, most := []uint32{zero}, uint32(maxZeroes)
	switch {
	case typ == typeDiscard && flags == 0:
		modes, most = []uint32{punch}, maxDiscard
	case typ == typeWriteZeroes && flags == 0:
	case typ == typeWriteZeroes && flags == flagUnmap:
		modes = []uint32{punch, zero} // freeing the space is allowed, but not required
	default:
		return statusUnsupported
	}
	off, ok := r.d.span(at, int64(sectors)*sector)
	if !ok || sectors > most {
		return statusError
	}
	status := byte(statusUnsupported)
	for _, mode := range modes {
		if status = r.allocate(mode, off, int64(sectors)*sector); status != statusUnsupported {
			break
		}
	}
	if status == statusOK && r.d.through {
		return r.flush()
	}
	return status
}

// Modes of fallocate(2).
const (
	punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	zero  = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
)

// allocate calls fallocate(2). Not every file system and disk supports every
// mode. A driver that gets statusUnsupported writes zeroes itself.
func (r *request) allocate(mode uint32, off, n int64) byte {
	for {
		err := unix.Fallocate(r.d.fd, mode, off, n)
		switch {
		case err == nil:
			return statusOK
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return statusUnsupported
		default:
			r.d.failed(fmt.Errorf("fallocate of %d bytes at %d: %w", n, off, err))
			return statusError
		}
	}
}
