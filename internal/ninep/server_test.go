package ninep

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// shared makes a folder with the files that tests need, and a file outside it.
func shared(t testing.TB) (folder, outside string) {
	t.Helper()
	dir := t.TempDir()
	folder, outside = filepath.Join(dir, "shared"), filepath.Join(dir, "secret")
	if err := os.MkdirAll(filepath.Join(folder, "dir", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, outside, "secret")
	write(t, filepath.Join(folder, "file"), "text")
	write(t, filepath.Join(folder, "dir", "deep", "file"), "deep text")
	for name, target := range map[string]string{"out": outside, "up": dir, "in": "file"} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(folder, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	return folder, outside
}

func TestAFileCanBeReadAndWritten(t *testing.T) {
	folder, _ := shared(t)
	c := serve(t, Folder{Name: "a", Path: folder})
	c.attach(0, "a")
	c.reach(0, 1, "dir", "deep", "file")
	c.ok(wire.Tlopen, 1, unix.O_RDWR)
	c.ok(wire.Twrite, 1, uint64(5), []byte("words"))
	r := c.ok(wire.Tread, 1, uint64(0), 100)
	if got := string(r.Take(int(r.U32()))); got != "deep words" || read(t, folder, "dir/deep/file") != got {
		t.Errorf("%q", got)
	}
	if r := c.ok(wire.Tread, 1, uint64(0), uint32(1<<31)); len(r.B) != 4+10 {
		t.Errorf("%d bytes", len(r.B))
	}
}

func TestAMissingLaterNameEndsAWalk(t *testing.T) {
	folder, _ := shared(t)
	c := serve(t, Folder{Path: folder})
	c.attach(0, "")
	r, err := c.walk(0, 1, "dir", "none", "file")
	if err != nil || r.U16() != 1 || len(r.B) != 13 {
		t.Errorf("walk: error %v, or %d bytes instead of one qid", err, len(r.B))
	}
	if _, err := c.ask(wire.Tgetattr, 1, uint64(0)); !errors.Is(err, unix.EBADF) {
		t.Errorf("getattr of the fid: %v, want EBADF", err)
	}
	if _, err := c.walk(0, 1, "none"); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
}

func TestNothingLeadsOutOfAFolder(t *testing.T) {
	folder, outside := shared(t)
	c := serve(t, Folder{Path: folder})
	c.attach(0, "")
	for _, names := range [][]string{{".."}, {"dir", ".."}, {"."}, {""}, {"dir/file"}, {"/"}, {outside}, {"a\x00b"}} {
		if _, err := c.walk(0, 1, names...); !errors.Is(err, unix.EINVAL) {
			t.Errorf("walk to %q: %v, want EINVAL", names, err)
		}
	}
	// A link itself can be walked to, but not what it points to.
	if r, err := c.walk(0, 1, "up", "secret"); err != nil || r.U16() != 1 || r.U8() != wire.KindSymlink {
		t.Errorf("walk through a link: %v, want the link's qid only", err)
	}
	for i, link := range []string{"out", "up"} {
		fid := 10 + i
		c.reach(0, fid, link)
		if _, err := c.ask(wire.Tlopen, fid, unix.O_RDWR); !errors.Is(err, unix.ELOOP) {
			t.Errorf("open of link %s: %v, want ELOOP", link, err)
		}
		times := []any{uint64(0), uint64(0), uint64(0), uint64(0)}
		for _, valid := range []int{wire.SetMode, wire.SetSize, wire.SetAtime | wire.SetAtimeTo, wire.SetUID} {
			// Either an error, or a change of the link itself.
			_, _ = c.ask(wire.Tsetattr, append([]any{fid, valid, 0, 12345, 0, uint64(0)}, times...)...)
		}
	}
	up := "../secret"
	for name, req := range map[string][]any{
		"create":      {uint8(wire.Tlcreate), 0, up, unix.O_RDWR, 0o600, 0},
		"create over": {uint8(wire.Tlcreate), 0, "out", unix.O_RDWR | unix.O_TRUNC, 0o600, 0},
		"mkdir":       {uint8(wire.Tmkdir), 0, "../new", 0o700, 0},
		"symlink":     {uint8(wire.Tsymlink), 0, "../new", "x", 0},
		"mknod":       {uint8(wire.Tmknod), 0, "../new", unix.S_IFREG, 0, 0, 0},
		"device":      {uint8(wire.Tmknod), 0, "null", unix.S_IFCHR | 0o666, 1, 3, 0},
		"unlink":      {uint8(wire.Tunlinkat), 0, up, 0},
		"unlink up":   {uint8(wire.Tunlinkat), 0, "..", unix.AT_REMOVEDIR},
		"rename":      {uint8(wire.Trenameat), 0, up, 0, "mine"},
		"rename to":   {uint8(wire.Trenameat), 0, "file", 0, up},
	} {
		if _, err := c.ask(req[0].(uint8), req[1:]...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(outside, &st); err != nil || read(t, outside) != "secret" || st.Mode != unix.S_IFREG|0o644 || st.Uid == 12345 || st.Atim.Sec == 0 {
		t.Errorf("the file outside has changed: %v, %+v", err, st)
	}
	if all, err := os.ReadDir(filepath.Dir(folder)); err != nil || len(all) != 2 {
		t.Errorf("the directory outside has changed: %v, %v", all, err)
	}
}

func TestOnlyFilesAndDirectoriesAreOpened(t *testing.T) {
	folder, _ := shared(t)
	c := serve(t, Folder{Path: folder})
	c.attach(0, "")
	c.ok(wire.Tmknod, 0, "socket", unix.S_IFSOCK|0o600, 0, 0, 0)
	for i, name := range []string{"fifo", "socket"} {
		c.reach(0, 1+i, name)
		if _, err := c.ask(wire.Tlopen, 1+i, unix.O_RDONLY); !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.ask(wire.Tlcreate, 0, "fifo", unix.O_RDWR, 0o600, 0); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
}

func TestAReadOnlyFolderStaysAsItIs(t *testing.T) {
	folder, _ := shared(t)
	c := serve(t, Folder{Name: "ro", Path: folder, ReadOnly: true}, Folder{Name: "rw", Path: folder})
	c.attach(0, "ro")
	c.attach(1, "rw")
	c.reach(0, 2, "file")
	times := []any{uint64(0), uint64(0), uint64(0), uint64(0)}
	for name, req := range map[string][]any{
		"open to write": {uint8(wire.Tlopen), 2, unix.O_WRONLY},
		"truncate":      {uint8(wire.Tlopen), 2, unix.O_RDONLY | unix.O_TRUNC},
		"create":        {uint8(wire.Tlcreate), 0, "new", unix.O_RDONLY, 0o600, 0},
		"mkdir":         {uint8(wire.Tmkdir), 0, "new", 0o700, 0},
		"symlink":       {uint8(wire.Tsymlink), 0, "new", "x", 0},
		"mknod":         {uint8(wire.Tmknod), 0, "new", unix.S_IFREG, 0, 0, 0},
		"link":          {uint8(wire.Tlink), 0, 2, "new"},
		"unlink":        {uint8(wire.Tunlinkat), 0, "file", 0},
		"rename":        {uint8(wire.Trenameat), 0, "file", 0, "new"},
		"attributes":    append([]any{uint8(wire.Tsetattr), 2, wire.SetMode, 0o777, 0, 0, uint64(0)}, times...),
		"write":         {uint8(wire.Twrite), 2, uint64(0), []byte("x")},
	} {
		if _, err := c.ask(req[0].(uint8), req[1:]...); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nor through a writable folder.
	if _, err := c.ask(wire.Tlink, 1, 2, "new"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("link: %v", err)
	}
	if _, err := c.ask(wire.Trenameat, 1, "file", 0, "new"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("rename into it: %v", err)
	}
	if _, err := c.ask(wire.Trenameat, 0, "file", 1, "new"); !errors.Is(err, unix.EROFS) {
		t.Errorf("rename out of it: %v", err)
	}
}

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	folder := t.TempDir()
	c := serve(t, Folder{Path: folder})
	c.attach(0, "")
	c.attach(1, "")
	c.ok(wire.Tlcreate, 1, "file", unix.O_RDWR, 0o666, 12345)
	c.ok(wire.Tmkdir, 0, "dir", 0o1777, 12345)
	c.ok(wire.Tmknod, 0, "fifo", unix.S_IFIFO|0o622, 0, 0, 12345)
	for name, want := range map[string]uint32{"file": unix.S_IFREG | 0o666, "dir": unix.S_IFDIR | 0o1777, "fifo": unix.S_IFIFO | 0o622} {
		var st unix.Stat_t
		err := unix.Lstat(filepath.Join(folder, name), &st)
		if err != nil || st.Mode != want || int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
			t.Errorf("%s: %v, mode %o, owner %d, group %d", name, err, st.Mode, st.Uid, st.Gid)
		}
	}
}

func TestTheNumberOfFidsIsBounded(t *testing.T) {
	c := serve(t, Folder{Path: t.TempDir()})
	c.s.maxFids = 10
	for fid := range 10 {
		c.attach(fid, "")
	}
	if _, err := c.walk(0, 10); !errors.Is(err, unix.ENFILE) {
		t.Error(err)
	}
	c.ok(wire.Tclunk, 3)
	c.reach(0, 10)
	c.reach(10, 10) // replaces itself
	for _, fid := range []uint32{0, wire.NoFid} {
		if _, err := c.walk(10, int(fid)); !errors.Is(err, unix.EBADF) {
			t.Errorf("walk to fid %d: %v, want EBADF", fid, err)
		}
	}
}

func TestANewSessionForgetsTheOldOne(t *testing.T) {
	before := descriptors(t)
	c := serve(t, Folder{Path: t.TempDir()})
	c.attach(0, "")
	c.reach(0, 1)
	c.ok(wire.Tlopen, 1, unix.O_RDONLY)
	if r := c.ok(wire.Tversion, uint32(4096), "9P2000.u"); r.U32() != 4096 || string(r.Str()) != "unknown" {
		t.Error("Tversion does not return size 4096 and version unknown")
	}
	if _, err := c.ask(wire.Tgetattr, 0, uint64(0)); !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
	if got := descriptors(t); got != before+2 { // those of the folder and of /proc/self/fd
		t.Errorf("%d descriptors are open, before the session %d", got, before)
	}
}

func descriptors(t testing.TB) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestMalformedMessagesAreErrors(t *testing.T) {
	c := serve(t, Folder{Path: t.TempDir()})
	c.attach(0, "")
	good := message(wire.Tgetattr, 7, 0, uint64(0))
	long := message(wire.Twrite, 7, 0, uint64(0), make([]byte, testMessage))
	for name, req := range map[string][]byte{
		"shorter than it says":  good[:len(good)-1],
		"longer than it says":   append(good[:len(good):len(good)], 0),
		"a field too many":      message(wire.Tgetattr, 7, 0, uint64(0), 0),
		"a field too few":       message(wire.Tgetattr, 7, 0),
		"longer than agreed on": long,
		"a string without end":  message(wire.Tmkdir, 7, 0, uint16(9), uint16(0)),
		"too many names":        message(wire.Twalk, 7, 0, 1, uint16(17)),
		"of no known type":      message(200, 7, 0),
		"of no known number":    message(wire.Tgetattr, 7, 99, uint64(0)),
		"no such folder":        message(wire.Tattach, 7, 1, uint32(wire.NoFid), "", "none", 0),
	} {
		if _, err := c.raw(req); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for n := range wire.Head {
		var reply []byte
		c.s.Handle(good[:n], c.buf, func(r []byte) { reply = r })
		if len(reply) != wire.ErrorSize || reply[4] != wire.Rlerror {
			t.Errorf("a request of %d bytes has reply % x, want Rlerror", n, reply)
		}
	}
}

func TestAFlushIsAnsweredAfterTheFlushedRequest(t *testing.T) {
	c := serve(t, Folder{Path: t.TempDir()})
	c.attach(0, "")
	order := make(chan string, 2)
	flushed := make(chan struct{})
	c.s.Handle(message(wire.Tgetattr, 1, 0, uint64(0)), c.buf, func([]byte) {
		go func() {
			c.s.Handle(message(wire.Tflush, 2, uint16(1)), make([]byte, testMessage), func([]byte) { order <- "flush" })
			close(flushed)
		}()
		for waits := false; !waits; {
			c.s.mu.Lock()
			waits = c.s.tags[1].done != nil
			c.s.mu.Unlock()
		}
		order <- "request"
	})
	<-flushed
	if got := <-order + " " + <-order; got != "request flush" {
		t.Errorf("order of the replies is %q", got)
	}
	c.ok(wire.Tflush, uint16(99)) // of a request that is over
}

func TestAListingIsCompleteForEverySize(t *testing.T) {
	folder := t.TempDir()
	want := map[string]bool{".": true, "..": true}
	for i := range 300 {
		name := strings.Repeat("n", i%100+1) + string(rune('a'+i/100))
		write(t, filepath.Join(folder, name), "")
		want[name] = true
	}
	c := serve(t, Folder{Path: folder})
	c.attach(0, "")
	for _, size := range []int{130, 1000, testMessage} {
		c.reach(0, 1)
		c.ok(wire.Tlopen, 1, unix.O_RDONLY|unix.O_DIRECTORY)
		seen := map[string]bool{}
		for off := uint64(0); ; {
			r := c.ok(wire.Treaddir, 1, off, size)
			if n := r.U32(); int(n) != len(r.B) || int(n) > size {
				t.Fatalf("the reply has %d bytes for a request of %d", n, size)
			}
			if len(r.B) == 0 {
				break
			}
			for len(r.B) > 0 {
				r.ID()
				off = r.U64()
				r.U8()
				seen[string(r.Str())] = true
			}
		}
		if len(seen) != len(want) {
			t.Errorf("requests of %d bytes: listed %d of %d names", size, len(seen), len(want))
		}
		c.ok(wire.Tclunk, 1)
	}
	c.reach(0, 1)
	c.ok(wire.Tlopen, 1, unix.O_RDONLY)
	if _, err := c.ask(wire.Treaddir, 1, uint64(0), 10); !errors.Is(err, unix.EINVAL) {
		t.Errorf("readdir when no entry fits: %v, want EINVAL", err)
	}
}

func TestAFidKeepsItsObjectWhenTheNameChanges(t *testing.T) {
	folder, _ := shared(t)
	c := serve(t, Folder{Path: folder})
	c.attach(0, "")
	c.reach(0, 1, "file")
	c.reach(0, 2, "file")
	c.ok(wire.Tlopen, 1, unix.O_RDWR)
	c.ok(wire.Tunlinkat, 0, "file", 0)
	write(t, filepath.Join(folder, "file"), "another")
	times := []any{uint64(0), uint64(0), uint64(1), uint64(0)}
	for _, fid := range []int{1, 2} {
		c.ok(wire.Tsetattr, append([]any{fid, wire.SetMode | wire.SetSize | wire.SetMtime | wire.SetMtimeTo, 0, 0, 0, uint64(2)}, times...)...)
		r := c.ok(wire.Tgetattr, fid, uint64(0))
		r.Take(8 + 13)
		if mode := r.U32(); mode != unix.S_IFREG {
			t.Errorf("mode is %o, want a regular file without permissions", mode)
		}
	}
	if read(t, folder, "file") != "another" {
		t.Error("the new file of that name was changed")
	}
}

func TestAMissingFolderIsAnErrorWithItsPath(t *testing.T) {
	there := Folder{Name: "there", Path: t.TempDir()}
	missing := Folder{Name: "missing", Path: filepath.Join(there.Path, "missing")}
	if _, err := New([]Folder{there, missing}, 8192); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing.Path) {
		t.Error(err)
	}
}
