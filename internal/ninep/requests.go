package ninep

import (
	"strings"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// request is the unread rest of a request.
type request struct {
	wire.Reader
	tag uint16
}

// name reads a file name.
func (r *request) name() (string, error) {
	name := string(r.Str())
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", unix.EINVAL
	}
	return name, nil
}

// end returns an error unless the request is completely read and well-formed.
func (r *request) end() error {
	if r.Bad || len(r.B) != 0 {
		return unix.EPROTO
	}
	return nil
}

// answer is a reply under construction.
type answer struct{ b []byte }

func (a *answer) u16(v uint16)  { a.b = wire.PutU16(a.b, v) }
func (a *answer) u32(v uint32)  { a.b = wire.PutU32(a.b, v) }
func (a *answer) u64(v uint64)  { a.b = wire.PutU64(a.b, v) }
func (a *answer) id(id wire.ID) { a.b = wire.PutID(a.b, id) }

// times appends times.
func (a *answer) times(times ...unix.Timespec) {
	for _, t := range times {
		a.u64(uint64(t.Sec))
		a.u64(uint64(t.Nsec))
	}
}

// handle executes a request.
func (s *Server) handle(typ uint8, r *request, a *answer) error {
	num := r.U32() // a fid, except in Tversion
	switch typ {
	case wire.Tversion:
		return s.version(num, r, a)
	case wire.Tattach:
		return s.attach(num, r, a)
	case wire.Tclunk:
		return s.clunk(num)
	case wire.Tremove: // unsupported, but the fid must go in any case; clients use Tunlinkat
		if err := s.clunk(num); err != nil {
			return err
		}
		return unix.EOPNOTSUPP
	}
	e, err := s.fid(num)
	if err != nil {
		return err
	}
	defer e.release()
	switch typ {
	case wire.Twalk:
		return e.walk(num, r, a)
	case wire.Tlopen:
		return e.lopen(num, r, a)
	case wire.Tlcreate:
		return e.lcreate(num, r, a)
	case wire.Tread:
		return e.read(r, a)
	case wire.Twrite:
		return e.write(r, a)
	case wire.Treaddir:
		return e.readdir(r, a)
	case wire.Tfsync:
		return e.fsync(r)
	case wire.Tgetattr:
		return e.getattr(r, a)
	case wire.Tsetattr:
		return e.setattr(r)
	case wire.Treadlink:
		return e.readlink(r, a)
	case wire.Tstatfs:
		return e.statfs(r, a)
	case wire.Tmkdir:
		return e.mkdir(r, a)
	case wire.Tsymlink:
		return e.symlink(r, a)
	case wire.Tmknod:
		return e.mknod(r, a)
	case wire.Tlink:
		return e.link(r)
	case wire.Trenameat:
		return e.renameat(r)
	case wire.Tunlinkat:
		return e.unlinkat(r)
	}
	return unix.EOPNOTSUPP
}

// version starts a session.
func (s *Server) version(size uint32, r *request, a *answer) error {
	name := string(r.Str())
	if err := r.end(); err != nil {
		return err
	}
	if size < wire.MinMessage {
		return unix.EMSGSIZE
	}
	s.forget()
	s.mu.Lock()
	s.size = int(min(uint64(size), uint64(s.maxMessage)))
	size = uint32(s.size)
	s.mu.Unlock()
	if name != wire.Version {
		name = "unknown" // version(5)
	}
	a.u32(size)
	a.b = wire.PutStr(a.b, name)
	return nil
}

// attach makes num stand for the root of a folder.
func (s *Server) attach(num uint32, r *request, a *answer) error {
	auth := r.U32()
	r.Str() // user name; unused, because the permissions are those of this process
	x := s.exports[string(r.Str())]
	r.U32() // user ID
	if err := r.end(); err != nil {
		return err
	}
	switch {
	case auth != wire.NoFid:
		return unix.EOPNOTSUPP
	case x == nil:
		return unix.ENOENT
	}
	fd, err := duplicate(x.root)
	if err != nil {
		return err
	}
	e, id, err := s.entry(x, fd, false)
	if err != nil {
		return err
	}
	a.id(id)
	return s.set(num, nil, e)
}

func duplicate(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// walk makes a fid for the object that the names lead to. When a name other
// than the first is missing, the reply has the qids up to that name, and no fid
// is made (walk(5)).
func (e *entry) walk(num uint32, r *request, a *answer) error {
	to, n := r.U32(), r.U16()
	if e.open {
		return unix.EBADF
	}
	if n > wire.MaxWalk {
		return unix.EPROTO
	}
	names := make([]string, n)
	for i := range names {
		var err error
		if names[i], err = r.name(); err != nil {
			return err
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	fd, err := duplicate(e.fd)
	if err != nil {
		return err
	}
	at, _, err := e.server.entry(e.export, fd, false)
	if err != nil {
		return err
	}
	a.u16(n)
	for i, name := range names {
		next, id, err := at.child(name)
		at.release()
		if err != nil && i > 0 {
			wire.PutU16(a.b[:wire.Head], uint16(i))
			return nil
		}
		if err != nil {
			return err
		}
		a.id(id)
		at = next
	}
	old := (*entry)(nil)
	if to == num {
		old = e
	}
	return e.server.set(to, old, at)
}

// child opens name in directory e.
func (e *entry) child(name string) (*entry, wire.ID, error) {
	fd, err := unix.Openat(e.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wire.ID{}, err
	}
	return e.server.entry(e.export, fd, false)
}

func (e *entry) getattr(r *request, a *answer) error {
	r.U64() // requested fields; we always return all basic ones
	if err := r.end(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(e.fd, &st); err != nil {
		return err
	}
	a.u64(wire.GetBasic)
	a.id(e.export.id(&st))
	a.u32(st.Mode)
	a.u32(st.Uid)
	a.u32(st.Gid)
	for _, v := range []uint64{uint64(st.Nlink), st.Rdev, uint64(st.Size), uint64(st.Blksize), uint64(st.Blocks)} {
		a.u64(v)
	}
	// Not basic, so zero: birth time, generation, data version.
	a.times(st.Atim, st.Mtim, st.Ctim, unix.Timespec{}, unix.Timespec{})
	return nil
}

func (e *entry) setattr(r *request) error {
	valid, mode, uid, gid, size := r.U32(), r.U32(), r.U32(), r.U32(), r.U64()
	times := [2]unix.Timespec{}
	for i := range times {
		t := r.Time()
		switch {
		case valid&(wire.SetAtime<<i) == 0:
			times[i].Nsec = unix.UTIME_OMIT
		case valid&(wire.SetAtimeTo<<i) == 0:
			times[i].Nsec = unix.UTIME_NOW
		default:
			times[i] = unix.Timespec{Sec: t.Sec, Nsec: t.Nsec}
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	if err := e.writable(); err != nil {
		return err
	}
	if valid&wire.SetMode != 0 {
		if err := e.chmod(mode); err != nil {
			return err
		}
	}
	if valid&(wire.SetUID|wire.SetGID|wire.SetCtime) != 0 {
		id := func(v, bit uint32) int {
			if valid&bit == 0 {
				return -1
			}
			return int(int32(v))
		}
		if err := unix.Fchownat(e.fd, "", id(uid, wire.SetUID), id(gid, wire.SetGID), unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if valid&wire.SetSize != 0 {
		if err := e.truncate(int64(size)); err != nil {
			return err
		}
	}
	if valid&(wire.SetAtime|wire.SetMtime) != 0 {
		return unix.UtimesNanoAt(e.server.self, e.name(), times[:], 0)
	}
	return nil
}

// chmod changes the mode of the object. It returns EOPNOTSUPP for a symbolic
// link, which has no mode.
func (e *entry) chmod(mode uint32) error {
	return unix.Fchmodat(e.server.self, e.name(), mode&0o7777, 0)
}

func (e *entry) truncate(size int64) error {
	if e.kind != unix.S_IFREG {
		return unix.EINVAL
	}
	if e.open && unix.Ftruncate(e.fd, size) == nil {
		return nil // works if the file is open for writing, whatever its mode
	}
	fd, err := e.reopen(unix.O_WRONLY)
	if err != nil {
		return err
	}
	err = unix.Ftruncate(fd, size)
	unix.Close(fd)
	return err
}

func (e *entry) readlink(r *request, a *answer) error {
	if err := r.end(); err != nil {
		return err
	}
	buf := make([]byte, wire.PathMax)
	n, err := unix.Readlinkat(e.fd, "", buf)
	if err != nil {
		return err
	}
	a.b = wire.PutStr(a.b, string(buf[:n]))
	return nil
}

func (e *entry) statfs(r *request, a *answer) error {
	if err := r.end(); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(e.fd, &st); err != nil {
		return err
	}
	a.u32(uint32(st.Type))
	a.u32(uint32(st.Bsize))
	for _, v := range []uint64{st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree, 0} { // 0: fsid
		a.u64(v)
	}
	a.u32(uint32(st.Namelen))
	return nil
}
