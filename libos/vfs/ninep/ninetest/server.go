//go:build !pith

// Package ninetest is a small 9P2000.L server of a folder, for the tests of
// what uses package ninep. It believes its client.
package ninetest

import (
	"encoding/binary"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// Server serves a folder. It is also a ninep.Transport to itself.
type Server struct {
	// MaxSize is the size of the longest message; 0: as the client wants.
	MaxSize uint32

	root    string
	watcher atomic.Pointer[func(typ uint8)]
	mu      sync.Mutex
	size    uint32 // of the longest message, agreed on
	fids    map[uint32]*entry
}

// entry is what a fid stands for: an O_PATH descriptor, and that of the open
// file.
type entry struct {
	path, open int
	listing    sync.Mutex
}

// New is a server of the folder root.
func New(root string) *Server { return &Server{root: root, fids: map[uint32]*entry{}} }

// Watch has fn told the type of each request.
func (s *Server) Watch(fn func(typ uint8)) { s.watcher.Store(&fn) }

// Close ends the session: what the client has open is closed.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for num, e := range s.fids {
		e.close()
		delete(s.fids, num)
	}
}

// Fids is how many fids the client has.
func (s *Server) Fids() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.fids)
}

// Slots implements ninep.Transport.
func (s *Server) Slots() int { return 8 }

// MaxMessage implements ninep.Transport.
func (s *Server) MaxMessage() int { return 1 << 20 }

// Exchange implements ninep.Transport.
func (s *Server) Exchange(_ int, out, in [][]byte) (int, linux.Errno) {
	var req []byte
	for _, p := range out {
		req = append(req, p...)
	}
	rep := s.Handle(req)
	n := 0
	for _, p := range in {
		n += copy(p, rep[n:])
	}
	return n, 0
}

// message is a request that is read, or a reply that is made.
type message struct{ b []byte }

func (m *message) u8() uint8   { v := m.b[0]; m.b = m.b[1:]; return v }
func (m *message) u16() uint16 { v := binary.LittleEndian.Uint16(m.b); m.b = m.b[2:]; return v }
func (m *message) u32() uint32 { v := binary.LittleEndian.Uint32(m.b); m.b = m.b[4:]; return v }
func (m *message) u64() uint64 { v := binary.LittleEndian.Uint64(m.b); m.b = m.b[8:]; return v }
func (m *message) str() string {
	n := m.u16()
	v := string(m.b[:n])
	m.b = m.b[n:]
	return v
}

func (m *message) put(values ...any) {
	for _, v := range values {
		switch v := v.(type) {
		case uint8:
			m.b = append(m.b, v)
		case uint16:
			m.b = binary.LittleEndian.AppendUint16(m.b, v)
		case uint32:
			m.b = binary.LittleEndian.AppendUint32(m.b, v)
		case uint64:
			m.b = binary.LittleEndian.AppendUint64(m.b, v)
		case int64:
			m.put(uint64(v))
		case string:
			m.put(uint16(len(v)))
			m.b = append(m.b, v...)
		case unix.Stat_t: // a qid
			typ := uint8(0)
			switch v.Mode & unix.S_IFMT {
			case unix.S_IFDIR:
				typ = 0x80
			case unix.S_IFLNK:
				typ = 0x02
			}
			m.put(typ, uint32(0), v.Ino)
		default:
			panic("ninetest: no such field")
		}
	}
}

// Handle answers a request. It may be called concurrently.
func (s *Server) Handle(req []byte) []byte {
	m := &message{req}
	m.u32()
	typ, tag := m.u8(), m.u16()
	if w := s.watcher.Load(); w != nil {
		(*w)(typ)
	}
	r := &message{}
	r.put(uint32(0), typ+1, tag)
	if err := s.handle(typ, m, r); err != nil {
		errno := unix.EIO
		errors.As(err, &errno)
		r.b = r.b[:0]
		r.put(uint32(0), uint8(7), tag, uint32(errno))
	}
	binary.LittleEndian.PutUint32(r.b, uint32(len(r.b)))
	return r.b
}

func (s *Server) get(num uint32) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.fids[num]
	if e == nil {
		return nil, unix.EBADF
	}
	return e, nil
}

func (s *Server) add(num uint32, path int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fids[num] != nil {
		unix.Close(path)
		return unix.EBADF
	}
	s.fids[num] = &entry{path: path, open: -1}
	return nil
}

func (s *Server) handle(typ uint8, m, r *message) error {
	switch typ {
	case 100: // Tversion
		s.size = m.u32()
		if s.MaxSize != 0 {
			s.size = min(s.size, s.MaxSize)
		}
		r.put(s.size, m.str())
		return nil
	case 104: // Tattach
		num := m.u32()
		fd, err := unix.Open(s.root, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return s.walked(num, fd, r)
	}
	e, err := s.get(m.u32())
	if err != nil {
		return err
	}
	switch typ {
	case 110: // Twalk
		num, names := m.u32(), m.u16()
		if names == 0 {
			fd, err := unix.FcntlInt(uintptr(e.path), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return err
			}
			r.put(uint16(0))
			return s.add(num, fd)
		}
		fd, err := unix.Openat(e.path, m.str(), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		r.put(uint16(1))
		return s.walked(num, fd, r)
	case 120, 122: // Tclunk, Tremove
		s.mu.Lock()
		for num, f := range s.fids {
			if f == e {
				delete(s.fids, num)
			}
		}
		s.mu.Unlock()
		e.close()
		return nil
	case 12, 14, 116, 118, 40, 50: // on open files
		return s.files(typ, e, m, r)
	}
	return s.names(typ, e, m, r)
}

// walked makes num stand for fd and answers with its qid.
func (s *Server) walked(num uint32, fd int, r *message) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	r.put(st)
	return s.add(num, fd)
}

func (e *entry) close() {
	unix.Close(e.path)
	if e.open >= 0 {
		unix.Close(e.open)
	}
}

// name is a path of the object that leads through no name of it.
func (e *entry) name() string { return "/proc/self/fd/" + strconv.Itoa(e.path) }

func (s *Server) files(typ uint8, e *entry, m, r *message) error {
	switch typ {
	case 12: // Tlopen
		fd, err := unix.Open(e.name(), int(m.u32())|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return e.opened(fd, r)
	case 14: // Tlcreate
		name, flags, mode, gid := m.str(), m.u32(), m.u32(), m.u32()
		fd, err := unix.Openat(e.path, name, int(flags)|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != nil {
			return err
		}
		if err := unix.Fchown(fd, -1, int(gid)); err != nil {
			return err
		}
		if err := unix.Fchmod(fd, mode&0o7777); err != nil {
			return err
		}
		unix.Close(e.path)
		if e.path, err = unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		return e.opened(fd, r)
	case 116: // Tread
		off, buf := m.u64(), make([]byte, m.u32())
		n, err := unix.Pread(e.open, buf, int64(off))
		if err != nil {
			return err
		}
		r.put(uint32(n))
		r.b = append(r.b, buf[:n]...)
		return nil
	case 118: // Twrite
		off, n := m.u64(), m.u32()
		put, err := unix.Pwrite(e.open, m.b[:n], int64(off))
		r.put(uint32(put))
		return err
	case 40: // Treaddir
		return e.list(m.u64(), int(m.u32()), r)
	}
	return unix.Fsync(e.open)
}

func (e *entry) opened(fd int, r *message) error {
	e.open = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	r.put(st, uint32(0))
	return nil
}

// list answers Treaddir: whole entries from off on, in at most size bytes.
func (e *entry) list(off uint64, size int, r *message) error {
	e.listing.Lock()
	defer e.listing.Unlock()
	if _, err := unix.Seek(e.open, int64(off), unix.SEEK_SET); err != nil {
		return err
	}
	// An entry here is shorter than one of getdents64(2).
	buf := make([]byte, max(size, 512))
	n, err := unix.Getdents(e.open, buf)
	if err != nil {
		return err
	}
	out := &message{}
	for b := buf[:n]; len(b) > 0; {
		d := &message{b}
		st := unix.Stat_t{Ino: d.u64()}
		next, reclen, kind := d.u64(), d.u16(), d.u8()
		st.Mode = uint32(kind) << 12
		name := unix.ByteSliceToString(b[19:reclen])
		if len(out.b)+24+len(name) > size {
			break
		}
		out.put(st, next, kind, name)
		b = b[reclen:]
	}
	r.put(uint32(len(out.b)))
	r.b = append(r.b, out.b...)
	return nil
}

func (s *Server) names(typ uint8, e *entry, m, r *message) error {
	// after gives what was made under name its group and, as that takes bits
	// away, its mode.
	after := func(name string, mode, gid uint32, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Fchownat(e.path, name, -1, int(gid), unix.AT_SYMLINK_NOFOLLOW)
		}
		if err == nil && mode != 0 {
			err = unix.Fchmodat(e.path, name, mode&0o7777, 0)
		}
		if err == nil {
			err = unix.Fstatat(e.path, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		}
		r.put(st)
		return err
	}
	switch typ {
	case 8: // Tstatfs
		var st unix.Statfs_t
		err := unix.Fstatfs(e.path, &st)
		r.put(uint32(st.Type), uint32(st.Bsize), st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree, uint64(0), uint32(st.Namelen))
		return err
	case 16: // Tsymlink
		name, target := m.str(), m.str()
		return after(name, 0, m.u32(), unix.Symlinkat(target, e.path, name))
	case 18: // Tmknod
		name, mode, major, minor := m.str(), m.u32(), m.u32(), m.u32()
		return after(name, mode, m.u32(), unix.Mknodat(e.path, name, mode, int(unix.Mkdev(major, minor))))
	case 22: // Treadlink
		buf := make([]byte, 4096)
		n, err := unix.Readlinkat(e.path, "", buf)
		if err != nil {
			return err
		}
		r.put(string(buf[:n]))
		return nil
	case 24: // Tgetattr
		var st unix.Stat_t
		err := unix.Fstat(e.path, &st)
		r.put(m.u64(), st, st.Mode, st.Uid, st.Gid, st.Nlink, st.Rdev, st.Size, st.Blksize, st.Blocks,
			st.Atim.Sec, st.Atim.Nsec, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec,
			uint64(0), uint64(0), uint64(0), uint64(0))
		return err
	case 26: // Tsetattr
		return e.setattr(m)
	case 70: // Tlink
		target, err := s.get(m.u32())
		if err != nil {
			return err
		}
		return unix.Linkat(target.path, "", e.path, m.str(), unix.AT_EMPTY_PATH)
	case 72: // Tmkdir
		name, mode := m.str(), m.u32()
		return after(name, mode, m.u32(), unix.Mkdirat(e.path, name, mode))
	case 74: // Trenameat
		from := m.str()
		to, err := s.get(m.u32())
		if err != nil {
			return err
		}
		return unix.Renameat(e.path, from, to.path, m.str())
	case 76: // Tunlinkat
		name := m.str()
		return unix.Unlinkat(e.path, name, int(m.u32()))
	}
	return unix.EOPNOTSUPP
}

func (e *entry) setattr(m *message) error {
	valid, mode, uid, gid, size := m.u32(), m.u32(), m.u32(), m.u32(), m.u64()
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	for i := range times {
		t := unix.Timespec{Sec: int64(m.u64()), Nsec: int64(m.u64())}
		switch {
		case valid&(1<<(7+i)) != 0:
			times[i] = t
		case valid&(1<<(4+i)) != 0:
			times[i].Nsec = unix.UTIME_NOW
		}
	}
	if valid&1 != 0 {
		if err := unix.Chmod(e.name(), mode); err != nil {
			return err
		}
	}
	if valid&(2|4|1<<6) != 0 {
		id := func(v, bit uint32) int {
			if valid&bit == 0 {
				return -1
			}
			return int(v)
		}
		if err := unix.Fchownat(e.path, "", id(uid, 2), id(gid, 4), unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if valid&8 != 0 {
		if err := unix.Truncate(e.name(), int64(size)); err != nil {
			return err
		}
	}
	if valid&(1<<4|1<<5) != 0 {
		return unix.UtimesNanoAt(e.path, "", times, unix.AT_EMPTY_PATH)
	}
	return nil
}
