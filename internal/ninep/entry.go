package ninep

import (
	"encoding/binary"
	"hash/maphash"
	"strconv"
	"sync"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// entry is what a fid stands for. It does not change, except for the position
// of a listing: a fid that is opened gets another entry. Requests hold a
// reference while they use it.
type entry struct {
	server *Server
	export *export
	fd     int // opened with O_PATH, unless open
	open   bool
	dev    uint64
	kind   uint32 // S_IFMT bits of the mode
	refs   int    // guarded by Server.mu

	listing sync.Mutex
	pos     int64 // current position of an open directory's descriptor
}

// entry makes an entry for fd, an object of x. It takes ownership of fd.
func (s *Server) entry(x *export, fd int, open bool) (*entry, wire.ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, wire.ID{}, err
	}
	e := &entry{server: s, export: x, fd: fd, open: open, dev: st.Dev, kind: st.Mode & unix.S_IFMT, refs: 1}
	return e, x.id(&st), nil
}

// id returns the qid of an object. The qid has the inode number if the object
// is on the same file system as the folder. Objects of file systems mounted
// below have a hash instead, which is practically unique.
func (x *export) id(st *unix.Stat_t) wire.ID {
	id := wire.ID{Path: x.number(st.Dev, st.Ino)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		id.Kind = wire.KindDir
	case unix.S_IFLNK:
		id.Kind = wire.KindSymlink
	}
	return id
}

func (x *export) number(dev, ino uint64) uint64 {
	if dev == x.dev {
		return ino
	}
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], dev)
	binary.LittleEndian.PutUint64(b[8:], ino)
	return maphash.Bytes(x.seed, b[:])
}

// name returns the name of e in the directory Server.self.
func (e *entry) name() string { return strconv.Itoa(e.fd) }

// reopen opens the object itself, whatever its names are.
func (e *entry) reopen(flags int) (int, error) {
	return unix.Openat(e.server.self, e.name(), flags|unix.O_CLOEXEC, 0)
}

// writable returns EROFS if the folder is read-only.
func (e *entry) writable() error {
	if e.export.readOnly {
		return unix.EROFS
	}
	return nil
}

// fid returns the entry of num, with a reference.
func (s *Server) fid(num uint32) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.fids[num]
	if e == nil {
		return nil, unix.EBADF
	}
	e.refs++
	return e, nil
}

// release releases a reference.
func (e *entry) release() {
	e.server.mu.Lock()
	defer e.server.mu.Unlock()
	e.drop()
}

// drop is release with Server.mu held.
func (e *entry) drop() {
	if e.refs--; e.refs == 0 {
		unix.Close(e.fd)
	}
}

// set makes num stand for e, whose reference it takes. num must have stood for
// old, or for nothing if old is nil.
func (s *Server) set(num uint32, old, e *entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := error(nil)
	switch {
	case num == wire.NoFid || s.fids[num] != old:
		err = unix.EBADF
	case old == nil && len(s.fids) >= s.maxFids:
		err = unix.ENFILE
	}
	if err != nil {
		e.drop()
		return err
	}
	s.fids[num] = e
	if old != nil {
		old.drop()
	}
	return nil
}

// clunk removes num.
func (s *Server) clunk(num uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.fids[num]
	if e == nil {
		return unix.EBADF
	}
	delete(s.fids, num)
	e.drop()
	return nil
}

// forget ends the session: it removes all fids.
func (s *Server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for num, e := range s.fids {
		delete(s.fids, num)
		e.drop()
	}
}

// Fids returns how many fids the client has in use.
func (s *Server) Fids() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.fids)
}
