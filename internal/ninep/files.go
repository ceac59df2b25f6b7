package ninep

import (
	"encoding/binary"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// Requests on open files, and requests that open files.

// openFlags are the flags of open(2) that a client may set.
const openFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_TRUNC | unix.O_SYNC | unix.O_DIRECTORY

// mayOpen returns an error if the file must not be opened with flags.
func (e *entry) mayOpen(flags uint32) error {
	switch {
	case flags&unix.O_ACCMODE == unix.O_ACCMODE:
		return unix.EINVAL
	case flags&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY:
		return e.writable()
	}
	return nil
}

func (e *entry) lopen(num uint32, r *request, a *answer) error {
	flags := r.U32()
	if err := r.end(); err != nil {
		return err
	}
	if err := e.mayOpen(flags); err != nil {
		return err
	}
	switch {
	case e.open:
		return unix.EBADF
	case e.kind == unix.S_IFLNK:
		return unix.ELOOP
	case e.kind != unix.S_IFREG && e.kind != unix.S_IFDIR:
		return unix.EACCES // like the mount option nodev
	}
	fd, err := e.reopen(int(flags & openFlags))
	if err != nil {
		return err
	}
	return e.opened(num, fd, a)
}

// opened makes num stand for the open file fd instead of e.
func (e *entry) opened(num uint32, fd int, a *answer) error {
	file, id, err := e.server.entry(e.export, fd, true)
	if err != nil {
		return err
	}
	a.id(id)
	a.u32(0) // iounit 0: any amount of data in one request
	return e.server.set(num, e, file)
}

// lcreate makes a regular file. The file belongs to this process's user,
// whatever the client says. Its group is that user's group, or the directory's
// if that has the set-group-ID bit. The same holds for every other new object.
func (e *entry) lcreate(num uint32, r *request, a *answer) error {
	name, err := r.name()
	if err != nil {
		return err
	}
	flags, mode := r.U32(), r.U32()
	r.U32() // group
	if err := r.end(); err != nil {
		return err
	}
	if e.open {
		return unix.EBADF
	}
	if err := e.mayOpen(flags); err != nil {
		return err
	}
	if err := e.writable(); err != nil {
		return err
	}
	// Only a new file is safe: an existing one might be anything.
	const create = unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(e.fd, name, int(flags&openFlags)|create, mode&0o7777)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&0o7777 != mode&0o7777 { // umask(2)
		err = unix.Fchmod(fd, mode&0o7777)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	return e.opened(num, fd, a)
}

// room returns how many of the want bytes of data fit into a reply.
func (e *entry) room(want uint32) int {
	return int(min(uint64(want), uint64(e.server.agreed()-wire.IOHead)))
}

func (e *entry) read(r *request, a *answer) error {
	off, count := r.U64(), r.U32()
	if err := r.end(); err != nil {
		return err
	}
	a.u32(0)
	data := a.b[wire.DataHead : wire.DataHead+e.room(count)]
	n, err := unix.Pread(e.fd, data, int64(off))
	if err != nil {
		return err
	}
	wire.PutU32(a.b[:wire.Head], uint32(n))
	a.b = a.b[:wire.DataHead+n]
	return nil
}

func (e *entry) write(r *request, a *answer) error {
	off := r.U64()
	data := r.Take(int(r.U32()))
	if err := r.end(); err != nil {
		return err
	}
	if err := e.writable(); err != nil {
		return err
	}
	n, err := unix.Pwrite(e.fd, data, int64(off))
	if err != nil {
		return err
	}
	a.u32(uint32(n))
	return nil
}

func (e *entry) fsync(r *request) error {
	dataOnly := r.U32()
	if err := r.end(); err != nil {
		return err
	}
	if dataOnly != 0 {
		return unix.Fdatasync(e.fd)
	}
	return unix.Fsync(e.fd)
}

// readdir replies with whole entries. off is the position that an earlier entry
// returned, or 0.
func (e *entry) readdir(r *request, a *answer) error {
	off, count := r.U64(), r.U32()
	if err := r.end(); err != nil {
		return err
	}
	if e.kind != unix.S_IFDIR || !e.open {
		return unix.EBADF
	}
	e.listing.Lock()
	defer e.listing.Unlock()
	if int64(off) != e.pos || off == 0 { // at the beginning, the directory is read anew
		if _, err := unix.Seek(e.fd, int64(off), unix.SEEK_SET); err != nil {
			return err
		}
		e.pos = int64(off)
	}
	room := e.room(count)
	// An entry of getdents64 is hardly longer than one of Rreaddir, so little is
	// read twice.
	buf := make([]byte, max(room, 512))
	n, err := unix.Getdents(e.fd, buf)
	if err != nil {
		return err
	}
	a.u32(0)
	if n > 0 {
		e.pos = -1 // needs a seek, unless the loop takes all entries
	}
	for b := buf[:n]; len(b) > 0; {
		d := directoryEntry(b)
		if len(a.b)+d.size() > wire.DataHead+room {
			break
		}
		a.id(e.export.id(&unix.Stat_t{Dev: e.dev, Ino: d.ino(), Mode: uint32(d.kind()) << 12}))
		a.u64(d.next())
		a.b = append(a.b, d.kind())
		a.b = wire.PutStr(a.b, d.name())
		if b = b[d.length():]; len(b) == 0 {
			e.pos = int64(d.next())
		}
	}
	done := len(a.b) - wire.DataHead
	if done == 0 && n > 0 {
		return unix.EINVAL // like getdents64(2) when no entry fits
	}
	wire.PutU32(a.b[:wire.Head], uint32(done))
	return nil
}

// directoryEntry starts with a struct linux_dirent64 (getdents64(2)).
type directoryEntry []byte

func (d directoryEntry) ino() uint64  { return binary.LittleEndian.Uint64(d) }
func (d directoryEntry) next() uint64 { return binary.LittleEndian.Uint64(d[8:]) }
func (d directoryEntry) length() int  { return int(binary.LittleEndian.Uint16(d[16:])) }
func (d directoryEntry) kind() uint8  { return d[18] }
func (d directoryEntry) name() string { return unix.ByteSliceToString(d[19:d.length()]) }

// size returns the size of the entry in Rreaddir: qid[13] offset[8] type[1]
// name[s].
func (d directoryEntry) size() int { return 13 + 8 + 1 + 2 + len(d.name()) }
