// Package wire has what a client and a server of 9P2000.L agree on: numbers,
// and how the fields of a message are written and read. Package
// libos/vfs/ninep is the client, package internal/ninep a server.
//
// The protocol is described by diod's protocol.md and by Linux's
// include/net/9p/9p.h.
package wire

import "github.com/pith-os/pith/libos/linux"

// Version is the protocol's name in Tversion.
const Version = "9P2000.L"

// Types of requests; the reply has the request's type plus one.
const (
	Rlerror   = 7 // answers any request
	Tstatfs   = 8
	Tlopen    = 12
	Tlcreate  = 14
	Tsymlink  = 16
	Tmknod    = 18
	Treadlink = 22
	Tgetattr  = 24
	Tsetattr  = 26
	Treaddir  = 40
	Tfsync    = 50
	Tlink     = 70
	Tmkdir    = 72
	Trenameat = 74
	Tunlinkat = 76
	Tversion  = 100
	Tattach   = 104
	Tflush    = 108
	Twalk     = 110
	Tread     = 116
	Twrite    = 118
	Tclunk    = 120
	Tremove   = 122
)

// Sizes in bytes.
const (
	Head      = 7  // size[4] type[1] tag[2], which every message begins with
	DataHead  = 11 // with count[4]: what stands before the data of Rread and Rreaddir
	ErrorSize = 11 // of Rlerror
	IOHead    = 24 // at least what stands beside the data in any message (P9_IOHDRSZ)
	// MinMessage is the least that a client and a server must take: what
	// Linux asks of a server.
	MinMessage = 4096
	PathMax    = 4096 // the longest target of a symbolic link, with its end (PATH_MAX)
	MaxWalk    = 16   // names in a Twalk
)

const (
	NoTag = 0xffff // of Tversion
	NoFid = 0xffffffff
	// GetBasic asks Tgetattr for what struct stat has.
	GetBasic = 0x7ff
	// RemoveDir has Tunlinkat remove a directory.
	RemoveDir = 0x200
)

// What a Tsetattr is to set.
const (
	SetMode = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime // to the server's time, without SetAtimeTo
	SetMtime
	SetCtime
	SetAtimeTo // to the time that is given
	SetMtimeTo
)

// ID is a qid: what the server says identifies an object. Its version, which
// tells states of the content apart, is of no use without a cache.
type ID struct {
	Kind uint8 // KindDir, KindSymlink, or 0
	Path uint64
}

// Kinds of objects, the bits of a qid's type that matter.
const (
	KindDir     = 0x80
	KindSymlink = 0x02
)

// PutU16 and its kin append numbers in the protocol's order, little endian.
func PutU16(b []byte, v uint16) []byte { return append(b, byte(v), byte(v>>8)) }

// PutU32 appends a number.
func PutU32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

// PutU64 appends a number.
func PutU64(b []byte, v uint64) []byte { return PutU32(PutU32(b, uint32(v)), uint32(v>>32)) }

// PutStr appends a string of less than 64 KiB.
func PutStr(b []byte, s string) []byte { return append(PutU16(b, uint16(len(s))), s...) }

// PutID appends a qid.
func PutID(b []byte, id ID) []byte { return PutU64(PutU32(append(b, id.Kind), 0), id.Path) }

// Reader is the rest of a message that was received. What is read beyond its
// end is zero and makes it Bad.
type Reader struct {
	B   []byte
	Bad bool
}

// Take is the next n bytes, which lie in the message.
func (r *Reader) Take(n int) []byte {
	if n > len(r.B) {
		r.B, r.Bad = nil, true
		return nil
	}
	p := r.B[:n]
	r.B = r.B[n:]
	return p
}

func (r *Reader) number(size int) (v uint64) {
	for i, b := range r.Take(size) {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// U8 and its kin read numbers.
func (r *Reader) U8() uint8 { return uint8(r.number(1)) }

// U16 reads a number.
func (r *Reader) U16() uint16 { return uint16(r.number(2)) }

// U32 reads a number.
func (r *Reader) U32() uint32 { return uint32(r.number(4)) }

// U64 reads a number.
func (r *Reader) U64() uint64 { return r.number(8) }

// Str reads a string, which lies in the message.
func (r *Reader) Str() []byte { return r.Take(int(r.U16())) }

// ID reads a qid.
func (r *Reader) ID() ID {
	kind := r.U8() & (KindDir | KindSymlink)
	r.U32() // version
	if kind == KindDir|KindSymlink {
		r.Bad = true
	}
	return ID{kind, r.U64()}
}

// Time reads a time.
func (r *Reader) Time() linux.Timespec {
	t := linux.Timespec{Sec: int64(r.U64()), Nsec: int64(r.U64())}
	if t.Nsec < 0 || t.Nsec >= 1e9 {
		r.Bad = true
	}
	return t
}

// Errno is EIO for a reply that is not as the protocol has it.
func (r *Reader) Errno() linux.Errno {
	if r.Bad {
		return linux.EIO
	}
	return 0
}
