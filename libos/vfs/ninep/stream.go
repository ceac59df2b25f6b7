package ninep

import (
	"bytes"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// listSize is how many bytes of a directory one request asks for.
const listSize = 32 << 10

// stream is the listing of an open directory. It buffers entries that the
// server sent and the caller has not taken. The open file calls it from one
// goroutine at a time.
type stream struct {
	d    *directory
	fid  *fid // open
	buf  []byte
	rest []byte // part of buf: entries not taken yet
	pos  int64  // position where rest begins
}

// Stream implements vfs.Streamer.
func (d *directory) Stream() (vfs.Stream, linux.Errno) {
	from := d.handle.hold()
	defer from.drop()
	f, errno := d.fs.c.clone(from)
	if errno != 0 {
		return nil, errno
	}
	if _, errno := d.fs.c.lopen(f, linux.O_RDONLY|linux.O_DIRECTORY); errno != 0 {
		f.drop()
		return nil, errno
	}
	return &stream{d: d, fid: f, buf: make([]byte, min(listSize, d.fs.c.maxData))}, 0
}

// List implements vfs.Stream. The positions are the server's.
func (s *stream) List(pos int64, fn func(vfs.DirEntry) bool) linux.Errno {
	if pos != s.pos || pos == 0 {
		s.rest, s.pos = nil, pos
	}
	for {
		if len(s.rest) == 0 {
			n, errno := s.d.fs.c.readData(wire.Treaddir, s.fid, s.buf, s.pos)
			if errno != 0 || n == 0 {
				return errno
			}
			s.rest = s.buf[:n]
		}
		r := wire.Reader{B: s.rest}
		e, ok := s.entry(&r)
		if !ok {
			s.rest = nil
			return linux.EIO
		}
		if !fn(e) {
			return 0
		}
		s.rest, s.pos = r.B, e.Next
	}
}

// entry reads an entry of Rreaddir: qid[13] offset[8] type[1] name[s]. The type
// is that of struct dirent.
func (s *stream) entry(r *wire.Reader) (vfs.DirEntry, bool) {
	id, next, typ, name := r.ID(), int64(r.U64()), r.U8(), r.Str()
	e := vfs.DirEntry{Name: string(name), Ino: id.Path, Mode: uint32(typ&0xf) << linux.DT_SHIFT, Next: next}
	ok := !r.Bad && next > 0 && next != s.pos &&
		len(name) > 0 && len(name) <= vfs.NameMax && bytes.IndexByte(name, '/') < 0 && bytes.IndexByte(name, 0) < 0
	return e, ok
}

// Stat implements vfs.Stream.
func (s *stream) Stat(st *linux.Stat) linux.Errno { return s.d.statBy(s.fid, st) }

// Sync implements vfs.Stream.
func (s *stream) Sync() linux.Errno { return s.d.fs.c.fsync(s.fid) }

// Close implements vfs.Stream.
func (s *stream) Close() { s.fid.close() }
