package ninep_test

import (
	"encoding/binary"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/vfs/ninep/ninetest"
)

// liar is a server whose replies a script changes.
type liar struct {
	*ninetest.Server
	mu     sync.Mutex
	script []byte
}

func (l *liar) next() int {
	if len(l.script) == 0 {
		return 255 // honest from here on
	}
	b := l.script[0]
	l.script = l.script[1:]
	return int(b)
}

// Exchange implements ninep.Transport.
func (l *liar) Exchange(_ int, out, in [][]byte) (int, linux.Errno) {
	var req []byte
	for _, p := range out {
		req = append(req, p...)
	}
	rep := l.Handle(req)
	l.mu.Lock()
	rep = l.lie(rep)
	l.mu.Unlock()
	n := 0
	for _, p := range in {
		n += copy(p, rep[n:])
	}
	return n, 0
}

func (l *liar) lie(rep []byte) []byte {
	switch what := l.next(); {
	case what < 64: // change a byte
		rep[l.next()%len(rep)] = byte(l.next())
	case what < 96: // change a field
		at := 7 + l.next()
		if at+4 <= len(rep) {
			binary.LittleEndian.PutUint32(rep[at:], []uint32{0, 1, 0x7fffffff, 0xffffffff, 0xffff}[l.next()%5])
		}
	case what < 104: // truncate the reply
		rep = rep[:l.next()%len(rep)]
	case what < 112: // a wrong size
		binary.LittleEndian.PutUint32(rep, uint32(l.next()))
	case what < 120: // an error
		rep = append(rep[:4], 7, rep[5], rep[6], byte(l.next()), byte(l.next()), 0, 0)
		binary.LittleEndian.PutUint32(rep, uint32(len(rep)))
	case what < 128: // another kind of object
		if len(rep) > 9 {
			rep[7+2*l.next()%3] = byte(l.next())
		}
	case what < 132:
		rep = append(rep, make([]byte, 1<<16)...)
		binary.LittleEndian.PutUint32(rep, uint32(len(rep)))
	}
	return rep
}

func FuzzLyingServer(f *testing.F) {
	f.Add([]byte("some bytes to begin with"))
	f.Add([]byte{200, 200, 200, 200, 200, 200, 0, 7, 0x80, 200, 90, 3, 100, 5, 110, 3, 200, 130, 200, 70, 1, 3})
	f.Fuzz(func(t *testing.T, script []byte) {
		server := ninetest.New(t.TempDir())
		defer server.Close()
		l := &liar{Server: server, script: script}
		fs, errno := ninep.New(l, false)
		if errno != 0 {
			sane(t, errno)
			return
		}
		exercise(t, fs)
	})
}

// sane fails the test if a program must not see errno. It reports whether there
// was no error.
func sane(t *testing.T, errno linux.Errno) bool {
	t.Helper()
	if errno > 4095 || errno == linux.EAGAIN {
		t.Fatalf("error %d is not one that a program may see", uint(errno))
	}
	return errno == 0
}

// exercise calls everything once on the file system. Any result is fine that a
// correct server could produce.
func exercise(t *testing.T, fs *ninep.FS) {
	dir := fs.Root().(vfs.MutableDir)
	top := vfs.NewDentry(nil, "/", dir)
	var made []*vfs.Dentry
	for _, n := range []struct {
		name string
		node vfs.NewInode
	}{
		{"file", vfs.NewInode{Mode: linux.S_IFREG | 0o600}}, {"dir", vfs.NewInode{Mode: linux.S_IFDIR | 0o700}},
		{"link", vfs.NewInode{Mode: linux.S_IFLNK, Target: "file"}}, {"fifo", vfs.NewInode{Mode: linux.S_IFIFO | 0o600}},
	} {
		d, errno := dir.Make(top, n.name, &n.node)
		if sane(t, errno) {
			made = append(made, d)
			use(t, d)
		}
	}
	list(t, top)
	if len(made) > 1 {
		_, errno := dir.Link(top, "other", made[0].Inode())
		sane(t, errno)
		sane(t, dir.Rename(made[0], top, "renamed", made[1]))
		sane(t, dir.Unlink(made[0]))
	}
	if d, errno := dir.Lookup(top, "dir"); sane(t, errno) {
		use(t, d)
	}
	var st linux.Statfs
	fs.Statfs(&st)
	if st.Bsize < 0 || st.Namelen < 0 {
		t.Fatalf("statfs returned negative sizes: %+v", st)
	}
}

// use makes all calls on an object that its kind supports.
func use(t *testing.T, d *vfs.Dentry) {
	var st linux.Stat
	if sane(t, d.Stat(&st)) && (st.Size < 0 || st.Blksize <= 0 || st.Mtim.Nsec >= 1e9) {
		t.Fatalf("stat returned impossible attributes: %+v", st)
	}
	sane(t, d.Inode().SetAttr(&vfs.Attr{Valid: vfs.AttrMode, Mode: 0o640}))
	if l, ok := d.Inode().(vfs.Symlink); ok {
		target, errno := l.Readlink()
		if sane(t, errno) && (target == "" || len(target) > 4095) {
			t.Fatalf("readlink returned a target of %d bytes", len(target))
		}
	}
	list(t, d)
	if d.Inode().(vfs.Remote).FileType() != linux.S_IFREG {
		return
	}
	f, errno := d.Inode().Open(d, linux.O_RDWR)
	if !sane(t, errno) {
		return
	}
	p := make([]byte, 9000)
	for _, do := range []func() (int, linux.Errno){
		func() (int, linux.Errno) { return f.Write(p) },
		func() (int, linux.Errno) { return f.Pread(p, 0) },
		func() (int, linux.Errno) { return f.Pwrite(p[:10], 1<<40) },
		func() (int, linux.Errno) { return f.Read(p) },
		func() (int, linux.Errno) { return 0, f.Truncate(100) },
		func() (int, linux.Errno) { return 0, f.Sync() },
	} {
		if n, errno := do(); n < 0 || n > len(p) || errno == linux.EAGAIN {
			t.Fatalf("the call returned %d bytes for a buffer of %d, or EAGAIN", n, len(p))
		}
	}
	if off, errno := f.Lseek(0, linux.SEEK_END); sane(t, errno) && off < 0 {
		t.Fatalf("lseek returned position %d", off)
	}
	f.Release()
}

func list(t *testing.T, d *vfs.Dentry) {
	if _, ok := d.Inode().(vfs.Dir); !ok {
		return
	}
	f, errno := d.Inode().Open(d, linux.O_DIRECTORY)
	if !sane(t, errno) {
		return
	}
	n := 0
	sane(t, f.(*vfs.DirFile).ReadDir(func(e vfs.DirEntry) bool {
		if e.Name == "" || len(e.Name) > vfs.NameMax || strings.ContainsAny(e.Name, "/\x00") || e.Next <= 0 {
			t.Fatalf("impossible directory entry %+v", e)
		}
		n++
		return n < 50
	}))
	f.Release()
}
