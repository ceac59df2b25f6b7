package socket

import (
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// Base is the part of a socket that does not depend on its family. A family embeds it,
// calls Init, and passes it the options that the family does not know.
type Base struct {
	file.Base
	domain, typ, proto int
	ino                uint64

	recvTimeout, sendTimeout atomic.Int64 // nanoseconds; negative: none

	// Queue announces every change of readiness.
	Queue wait.Queue
}

// device is st_dev of sockets: an anonymous device, as for Linux's sockfs.
const device = 8

var lastIno atomic.Uint64

// Init makes b the base of a new socket.
func (b *Base) Init(domain, typ, proto int) {
	b.Base.Init(linux.O_RDWR)
	b.domain, b.typ, b.proto = domain, typ, proto
	b.ino = lastIno.Add(1)
	b.recvTimeout.Store(-1)
	b.sendTimeout.Store(-1)
}

// Type returns SO_TYPE.
func (b *Base) Type() int { return b.typ }

// Protocol returns SO_PROTOCOL.
func (b *Base) Protocol() int { return b.proto }

// Watch implements file.File.
func (b *Base) Watch() *wait.Queue { return &b.Queue }

// Timeouts implements Socket.
func (b *Base) Timeouts() (recv, send int64) {
	return b.recvTimeout.Load(), b.sendTimeout.Load()
}

// Ino returns the inode number, as in the "socket:[ino]" of /proc/self/fd.
func (b *Base) Ino() uint64 { return b.ino }

// Stat implements file.File.
func (b *Base) Stat(st *linux.Stat) linux.Errno {
	*st = linux.Stat{
		Dev:     device,
		Ino:     b.ino,
		Nlink:   1,
		Mode:    linux.S_IFSOCK | 0o777,
		Blksize: 4096,
	}
	return 0
}

// SetOption sets an option of SOL_SOCKET that Base knows; ENOPROTOOPT otherwise.
func (b *Base) SetOption(level, name int, val []byte) linux.Errno {
	if level != linux.SOL_SOCKET {
		return linux.ENOPROTOOPT
	}
	switch name {
	case linux.SO_RCVTIMEO, linux.SO_RCVTIMEO_NEW:
		return setTimeout(&b.recvTimeout, val)
	case linux.SO_SNDTIMEO, linux.SO_SNDTIMEO_NEW:
		return setTimeout(&b.sendTimeout, val)
	}
	return linux.ENOPROTOOPT
}

// Option returns an option of SOL_SOCKET that Base knows; ENOPROTOOPT otherwise.
func (b *Base) Option(level, name int, val []byte) (int, linux.Errno) {
	if level != linux.SOL_SOCKET {
		return 0, linux.ENOPROTOOPT
	}
	switch name {
	case linux.SO_TYPE:
		return PutInt(val, b.typ), 0
	case linux.SO_DOMAIN:
		return PutInt(val, b.domain), 0
	case linux.SO_PROTOCOL:
		return PutInt(val, b.proto), 0
	case linux.SO_COOKIE:
		if len(val) < 8 {
			return 0, linux.EINVAL
		}
		return Put(val, b.ino), 0
	case linux.SO_RCVTIMEO, linux.SO_RCVTIMEO_NEW:
		return putTimeout(val, &b.recvTimeout), 0
	case linux.SO_SNDTIMEO, linux.SO_SNDTIMEO_NEW:
		return putTimeout(val, &b.sendTimeout), 0
	}
	return 0, linux.ENOPROTOOPT
}

// setTimeout sets SO_RCVTIMEO or SO_SNDTIMEO (socket(7)). Zero means no timeout. A
// negative time is over at once, as on Linux.
func setTimeout(t *atomic.Int64, val []byte) linux.Errno {
	tv, errno := Get[linux.Timeval](val)
	switch {
	case errno != 0:
		return errno
	case tv.Usec < 0 || tv.Usec >= 1e6:
		return linux.EDOM
	case tv.Sec < 0:
		t.Store(0)
	case tv == linux.Timeval{} || tv.Sec > 1<<32:
		t.Store(-1)
	default:
		t.Store(tv.Sec*1e9 + tv.Usec*1e3)
	}
	return 0
}

func putTimeout(val []byte, t *atomic.Int64) int {
	ns := max(t.Load(), 0)
	return Put(val, linux.Timeval{Sec: ns / 1e9, Usec: ns % 1e9 / 1e3})
}

// Get returns the value of an option of type T; EINVAL if val is too short.
func Get[T any](val []byte) (v T, errno linux.Errno) {
	if len(val) < int(unsafe.Sizeof(v)) {
		return v, linux.EINVAL
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v)), val)
	return v, 0
}

// Put stores as much of an option's value as fits, and returns that length in bytes.
func Put[T any](val []byte, v T) int {
	return copy(val, unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v)))
}

// GetInt returns the value of an option that is an int.
func GetInt(val []byte) (int, linux.Errno) {
	v, errno := Get[int32](val)
	return int(v), errno
}

// PutInt is Put for an int.
func PutInt(val []byte, v int) int { return Put(val, int32(v)) }

// PutBool is Put for an int that is 0 or 1.
func PutBool(val []byte, v bool) int {
	if v {
		return PutInt(val, 1)
	}
	return PutInt(val, 0)
}
