// Package wire has what clients and servers of 9P2000.L share: constants, and
// functions that write and read the fields of messages. Package libos/vfs/ninep
// is the client, package internal/ninep a server.
//
// diod's protocol.md and Linux's include/net/9p/9p.h describe the protocol.
package wire

import "github.com/pith-os/pith/libos/linux"

// Version is the protocol's name in Tversion.
const Version = "9P2000.L"

// Types of requests; the reply has the request's type plus one.
const (
	Rlerror   = 7 // the reply to any request that fails
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
	Head      = 7  // size[4] type[1] tag[2] at the start of every message
	DataHead  = 11 // Head and count[4]: precedes the data of Rread and Rreaddir
	ErrorSize = 11 // size of an Rlerror
	IOHead    = 24 // upper bound of the bytes beside the data in any message (P9_IOHDRSZ)
	// MinMessage is the message size that every client and server must accept.
	// Linux requires it of a server.
	MinMessage = 4096
	PathMax    = 4096 // longest target of a symbolic link, including the zero byte (PATH_MAX)
	MaxWalk    = 16   // most names in a Twalk
)

const (
	NoTag = 0xffff // tag of Tversion
	NoFid = 0xffffffff
	// GetBasic makes Tgetattr return the fields of struct stat.
	GetBasic = 0x7ff
	// RemoveDir makes Tunlinkat remove a directory.
	RemoveDir = 0x200
)

// Which fields a Tsetattr sets.
const (
	SetMode = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime // to the server's time unless SetAtimeTo is set
	SetMtime
	SetCtime
	SetAtimeTo // to the given time
	SetMtimeTo
)

// ID is a qid: the server's identifier of an object. It omits the qid's
// version, which changes with the content: only a cache would need it.
type ID struct {
	Kind uint8 // KindDir, KindSymlink, or 0
	Path uint64
}

// Kinds of objects: the relevant bits of a qid's type.
const (
	KindDir     = 0x80
	KindSymlink = 0x02
)

// PutU16 appends a number in little-endian order, as do PutU32 and PutU64.
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

// Reader reads the fields of a received message from B. A read beyond the end
// returns zero and sets Bad.
type Reader struct {
	B   []byte
	Bad bool
}

// Take returns the next n bytes, which are a slice of the message.
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

// U8 reads a number, as do U16, U32 and U64.
func (r *Reader) U8() uint8 { return uint8(r.number(1)) }

// U16 reads a number.
func (r *Reader) U16() uint16 { return uint16(r.number(2)) }

// U32 reads a number.
func (r *Reader) U32() uint32 { return uint32(r.number(4)) }

// U64 reads a number.
func (r *Reader) U64() uint64 { return r.number(8) }

// Str reads a string, which is a slice of the message.
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

// Errno returns EIO if the message was malformed, else 0.
func (r *Reader) Errno() linux.Errno {
	if r.Bad {
		return linux.EIO
	}
	return 0
}
