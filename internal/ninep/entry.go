package ninep

import (
	"encoding/binary"
	"hash/maphash"
	"strconv"
	"sync"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// entry is what a fid stands for. But for the position of a listing it does not
// change: a fid whose file is opened gets another one. Requests hold it while
// they use it.
type entry struct {
	server *Server
	export *export
	fd     int // O_PATH, unless it is open
	open   bool
	dev    uint64
	kind   uint32 // S_IFMT of its mode
	refs   int    // guarded by Server.mu

	listing sync.Mutex
	pos     int64 // where the descriptor of an open directory is
}

// entry takes over fd, an object of x.
func (s *Server) entry(x *export, fd int, open bool) (*entry, wire.ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, wire.ID{}, err
	}
	e := &entry{server: s, export: x, fd: fd, open: open, dev: st.Dev, kind: st.Mode & unix.S_IFMT, refs: 1}
	return e, x.id(&st), nil
}

// id is the qid of an object: the number that its file system has for it, as
// long as that is the folder's own. For those that are mounted in it, something
// else that is as good as unique.
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

// name is what e is called in the directory Server.self.
func (e *entry) name() string { return strconv.Itoa(e.fd) }

// reopen opens the object itself, whatever names it has or had.
func (e *entry) reopen(flags int) (int, error) {
	return unix.Openat(e.server.self, e.name(), flags|unix.O_CLOEXEC, 0)
}

// writable says whether the folder may be changed.
func (e *entry) writable() error {
	if e.export.readOnly {
		return unix.EROFS
	}
	return nil
}

// fid holds what num stands for.
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

// release ends a use.
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

// set has num, which stands for old (nil: for nothing), stand for e, which it
// takes over.
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

// clunk has num stand for nothing.
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

// forget ends the session: no number stands for anything.
func (s *Server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for num, e := range s.fids {
		delete(s.fids, num)
		e.drop()
	}
}

// Fids is how many numbers the client has in use.
func (s *Server) Fids() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.fids)
}
