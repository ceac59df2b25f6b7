package ninep

import "github.com/pith-os/pith/libos/linux"

// Message types of 9P2000.L; the reply to a request has its type plus one.
const (
	rError    = 7 // Rlerror; there is no request of the kind
	tStatfs   = 8
	tLopen    = 12
	tLcreate  = 14
	tSymlink  = 16
	tMknod    = 18
	tReadlink = 22
	tGetattr  = 24
	tSetattr  = 26
	tReaddir  = 40
	tFsync    = 50
	tLink     = 70
	tMkdir    = 72
	tRenameat = 74
	tUnlinkat = 76
	tVersion  = 100
	tAttach   = 104
	tWalk     = 110
	tRead     = 116
	tWrite    = 118
	tClunk    = 120
)

// Sizes and values of the protocol.
const (
	version    = "9P2000.L"
	headSize   = 7  // size[4] type[1] tag[2]
	dataHead   = 11 // with count[4]: what stands before the data of Rread and Rreaddir
	errorSize  = 11 // of an Rlerror
	ioHead     = 24 // at least what stands beside the data in any message (P9_IOHDRSZ)
	noTag      = 0xffff
	noFid      = 0xffffffff
	getBasic   = 0x7ff // Tgetattr: what struct stat has
	removeDir  = 0x200 // Tunlinkat
	setCtime   = 1 << 6
	setAtimeTo = 1 << 7 // the time is given, not the server's
	setMtimeTo = 1 << 8
)

// fileID is a qid: what the server says identifies an object. Its version, which
// tells states of the content apart, is of no use without a cache.
type fileID struct {
	kind uint8 // kindDir, kindSymlink, or 0
	path uint64
}

// Kinds of objects, the bits of a qid's type that matter.
const (
	kindDir     = 0x80
	kindSymlink = 0x02
)

// putU16 and its kin append numbers in the protocol's order, little endian.
func putU16(b []byte, v uint16) []byte { return append(b, byte(v), byte(v>>8)) }

func putU32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

func putU64(b []byte, v uint64) []byte { return putU32(putU32(b, uint32(v)), uint32(v>>32)) }

func (x *exchange) u32(v uint32) { x.out = putU32(x.out, v) }
func (x *exchange) u64(v uint64) { x.out = putU64(x.out, v) }

// str appends a string. Those of the program are names and targets, shorter
// than pathMax.
func (x *exchange) str(s string) { x.out = append(putU16(x.out, uint16(len(s))), s...) }

func (x *exchange) time(t linux.Timespec) {
	x.u64(uint64(t.Sec))
	x.u64(uint64(t.Nsec))
}

// reply is the rest of a message that was received. What is read beyond its end
// is zero and makes it bad.
type reply struct {
	b   []byte
	bad bool
}

func (r *reply) take(n int) []byte {
	if n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reply) number(size int) (v uint64) {
	for i, b := range r.take(size) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

func (r *reply) u8() uint8   { return uint8(r.number(1)) }
func (r *reply) u16() uint16 { return uint16(r.number(2)) }
func (r *reply) u32() uint32 { return uint32(r.number(4)) }
func (r *reply) u64() uint64 { return r.number(8) }

// str is a string, which lies in the message.
func (r *reply) str() []byte { return r.take(int(r.u16())) }

func (r *reply) id() fileID {
	kind := r.u8() & (kindDir | kindSymlink)
	r.u32() // version
	if kind == kindDir|kindSymlink {
		r.bad = true
	}
	return fileID{kind, r.u64()}
}

func (r *reply) time() linux.Timespec {
	t := linux.Timespec{Sec: int64(r.u64()), Nsec: int64(r.u64())}
	if t.Nsec < 0 || t.Nsec >= 1e9 {
		r.bad = true
	}
	return t
}

// errno is EIO for a reply that is not as the protocol has it.
func (r *reply) errno() linux.Errno {
	if r.bad {
		return linux.EIO
	}
	return 0
}
