package ninep_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/vfs/ninep/ninetest"
	_ "github.com/pith-os/pith/libos/vfs/rootfs"
)

// A process builds the tree once, so the folders of all tests are mounted
// before the first test.
var (
	folder = func() string {
		dir, err := os.MkdirTemp("", "pith-9p")
		if err != nil {
			panic(err)
		}
		return dir
	}()
	server = ninetest.New(folder)
	small  = ninetest.NewSmall(folder, 4096) // accepts only the shortest allowed messages
	_      = mount(server, "/rw", false)
	_      = mount(ninetest.New(folder), "/ro", true)
	_      = mount(small, "/small", false)
)

func mount(s *ninetest.Server, path string, readOnly bool) bool {
	fs, errno := ninep.New(s, readOnly)
	if errno != 0 {
		panic(errno.Name())
	}
	fs.Mount("test", path)
	return true
}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// put makes a file in the folder and returns its name.
func put(t testing.TB, name string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t testing.TB, path string, flags uint32) file.File {
	t.Helper()
	f, errno := vfs.Open(vfs.Root(), path, flags, 0o600)
	if errno != 0 {
		t.Fatalf("%s: %s", path, errno.Name())
	}
	return f
}

func random(n int, seed byte) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

func TestLargeFilesPassInManyMessages(t *testing.T) {
	for _, top := range []string{"/rw", "/small"} {
		for _, size := range []int{0, 1, 4072, 4073, 128 << 10, 1<<20 + 7} {
			data := random(size, byte(size))
			f := open(t, top+"/large", linux.O_RDWR|linux.O_CREAT|linux.O_TRUNC)
			if n, errno := f.Write(data); n != size || errno != 0 {
				t.Errorf("%s: wrote %d of %d bytes: %s", top, n, size, errno.Name())
			}
			back := make([]byte, size+100)
			if n, errno := f.Pread(back, 0); n != size || errno != 0 || !bytes.Equal(back[:n], data) {
				t.Errorf("%s: read %d of %d bytes, or the data differ: %s", top, n, size, errno.Name())
			}
			f.Release()
			if host, err := os.ReadFile(filepath.Join(folder, "large")); err != nil || !bytes.Equal(host, data) {
				t.Errorf("%s: the host's file has %d bytes and differs: %v", top, len(host), err)
			}
		}
	}
}

func TestLargeDirectoriesAreListedCompletely(t *testing.T) {
	const n = 3000
	if err := os.Mkdir(filepath.Join(folder, "many"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		put(t, fmt.Sprintf("many/a rather long name %d", i), nil)
	}
	for _, path := range []string{"/rw/many", "/small/many"} {
		for _, at := range []int{1, 7, n} { // entries per call
			f := open(t, path, linux.O_DIRECTORY).(*vfs.DirFile)
			seen := map[string]bool{}
			for more := true; more; {
				more = false
				left := at
				errno := f.ReadDir(func(e vfs.DirEntry) bool {
					if left == 0 {
						return false
					}
					if seen[e.Name] {
						t.Fatalf("%s was listed twice", e.Name)
					}
					left--
					seen[e.Name], more = true, true
					return true
				})
				if errno != 0 {
					t.Fatal(errno.Name())
				}
			}
			f.Release()
			if len(seen) != n+2 {
				t.Errorf("%s: listed %d names of %d", path, len(seen), n+2)
			}
		}
	}
}

func TestAListingContinuesAtTheLseekOffset(t *testing.T) {
	for i := range 5 {
		if err := os.MkdirAll(filepath.Join(folder, "seek", fmt.Sprint(i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, "/rw/seek", linux.O_DIRECTORY).(*vfs.DirFile)
	defer f.Release()
	list := func() (all []vfs.DirEntry) {
		if errno := f.ReadDir(func(e vfs.DirEntry) bool { all = append(all, e); return true }); errno != 0 {
			t.Fatal(errno.Name())
		}
		return all
	}
	first := list()
	for i, e := range first {
		if _, errno := f.Lseek(e.Next, linux.SEEK_SET); errno != 0 {
			t.Fatal(errno.Name())
		}
		if rest := list(); len(rest) != len(first)-i-1 {
			t.Errorf("listed %[2]d entries after entry %[1]d, want %[3]d", i, len(rest), len(first)-i-1)
		}
	}
	put(t, "seek/new", nil)
	f.Lseek(0, linux.SEEK_SET)
	if again := list(); len(again) != len(first)+1 {
		t.Errorf("listed %d entries after one was added, want %d", len(again), len(first)+1)
	}
}

func TestChangesOnTheHostAreSeenAtOnce(t *testing.T) {
	put(t, "seen", []byte("one"))
	f := open(t, "/rw/seen", linux.O_RDONLY)
	defer f.Release()
	put(t, "seen", []byte("other"))
	p := make([]byte, 10)
	if n, errno := f.Read(p); errno != 0 || string(p[:n]) != "other" {
		t.Errorf("read %q: %s, want %q", p[:n], errno.Name(), "other")
	}
	if err := os.Rename(filepath.Join(folder, "seen"), filepath.Join(folder, "renamed")); err != nil {
		t.Fatal(err)
	}
	if _, errno := vfs.Walk(vfs.Root(), "/rw/seen", true); errno != linux.ENOENT {
		t.Errorf("looking up the old name: %s, want ENOENT", errno.Name())
	}
	if _, errno := vfs.Walk(vfs.Root(), "/rw/renamed", true); errno != 0 {
		t.Errorf("looking up the new name: %s", errno.Name())
	}
}

func TestOpenFilesFollowRenamesAndOutliveTheirNames(t *testing.T) {
	vfs.Make(vfs.Root(), "/rw/from", &vfs.NewInode{Mode: linux.S_IFDIR | 0o700})
	f := open(t, "/rw/from/file", linux.O_RDWR|linux.O_CREAT)
	defer f.Release()
	if errno := vfs.Rename(nil, "/rw/from", nil, "/rw/to", 0); errno != 0 {
		t.Fatal(errno.Name())
	}
	d := vfs.DentryOf(f)
	if got := d.Path(); got != "/rw/to/file" {
		t.Errorf("the file is %s", got)
	}
	again, errno := vfs.Walk(vfs.Root(), "/rw/to/file", true)
	if errno != 0 || again != d || again.Inode() != d.Inode() {
		t.Errorf("the renamed file has another dentry or inode: %s", errno.Name())
	}
	if errno := vfs.Unlink(vfs.Root(), "/rw/to/file"); errno != 0 {
		t.Fatal(errno.Name())
	}
	if got := d.Path(); got != "/rw/to/file (deleted)" {
		t.Errorf("the file is %s", got)
	}
	if _, errno := f.Write([]byte("still here")); errno != 0 {
		t.Error(errno.Name())
	}
	var st linux.Stat
	if errno := f.Stat(&st); errno != 0 || st.Size != 10 || st.Nlink != 0 {
		t.Errorf("the removed file has size %d and %d links, want 10 and 0: %s", st.Size, st.Nlink, errno.Name())
	}
}

func TestHardLinksAreOneInode(t *testing.T) {
	put(t, "link1", []byte("x"))
	if err := os.Link(filepath.Join(folder, "link1"), filepath.Join(folder, "link2")); err != nil {
		t.Fatal(err)
	}
	a, b := open(t, "/rw/link1", linux.O_RDWR), open(t, "/rw/link2", linux.O_RDWR)
	defer a.Release()
	defer b.Release()
	if errno := vfs.Flock(a, linux.F_WRLCK); errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := vfs.Flock(b, linux.F_WRLCK); errno != linux.EAGAIN {
		t.Errorf("locking the other name: %s, want EAGAIN", errno.Name())
	}
}

func TestAReadOnlyFolderRefusesChanges(t *testing.T) {
	put(t, "kept", []byte("x"))
	root := vfs.Root()
	kept, errno := vfs.Walk(root, "/ro/kept", true)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	opened := func(flags uint32) func() linux.Errno {
		return func() linux.Errno {
			f, errno := vfs.Open(root, "/ro/kept", flags, 0o600)
			if errno == 0 {
				f.Release()
			}
			return errno
		}
	}
	for name, c := range map[string]struct {
		do   func() linux.Errno
		want linux.Errno
	}{
		"read":     {opened(linux.O_RDONLY), 0},
		"write":    {opened(linux.O_WRONLY), linux.EROFS},
		"truncate": {opened(linux.O_RDONLY | linux.O_TRUNC), linux.EROFS},
		"create there": {func() linux.Errno {
			_, errno := vfs.Open(root, "/ro/new", linux.O_CREAT|linux.O_RDWR, 0o600)
			return errno
		}, linux.EROFS},
		"mkdir": {func() linux.Errno {
			return vfs.Make(root, "/ro/dir", &vfs.NewInode{Mode: linux.S_IFDIR})
		}, linux.EROFS},
		"unlink": {func() linux.Errno { return vfs.Unlink(root, "/ro/kept") }, linux.EROFS},
		"rename": {func() linux.Errno { return vfs.Rename(nil, "/ro/kept", nil, "/ro/x", 0) }, linux.EROFS},
		"link":   {func() linux.Errno { return vfs.Hardlink(kept, root, "/ro/x") }, linux.EROFS},
		"chmod":  {func() linux.Errno { return kept.Inode().SetAttr(&vfs.Attr{Valid: vfs.AttrMode}) }, linux.EROFS},
	} {
		if errno := c.do(); errno != c.want {
			t.Errorf("%s: %s, want %s", name, errno.Name(), c.want.Name())
		}
	}
	var st linux.Statfs
	if kept.Inode().FS().Statfs(&st); st.Flags&linux.ST_RDONLY == 0 || st.Blocks == 0 {
		t.Errorf("statfs: flags %#x without ST_RDONLY, or %d blocks", st.Flags, st.Blocks)
	}
}

func TestConcurrentAppendsLoseNothing(t *testing.T) {
	put(t, "log", nil)
	var done sync.WaitGroup
	const writers, lines = 20, 30
	for range writers {
		done.Go(func() {
			f := open(t, "/rw/log", linux.O_WRONLY|linux.O_APPEND)
			defer f.Release()
			for range lines {
				if _, errno := f.Write([]byte("a line\n")); errno != 0 {
					t.Error(errno.Name())
				}
			}
		})
	}
	done.Wait()
	if b, err := os.ReadFile(filepath.Join(folder, "log")); err != nil || len(b) != writers*lines*7 {
		t.Errorf("the log has %d bytes, want %d: %v", len(b), writers*lines*7, err)
	}
}

// The creator of a file may write to it although its mode forbids every open.
func TestTheCreatorOfAFileMayWriteToIt(t *testing.T) {
	var opens atomic.Int32
	server.Watch(func(typ uint8) {
		if typ == 12 { // Tlopen
			opens.Add(1)
		}
	})
	f, errno := vfs.Open(vfs.Root(), "/rw/secret", linux.O_CREAT|linux.O_EXCL|linux.O_WRONLY, 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer f.Release()
	if _, errno := f.Write([]byte("x")); errno != 0 {
		t.Error(errno.Name())
	}
	if opens.Load() != 0 {
		t.Error("the new file was opened a second time")
	}
}

func TestFidsAreReleased(t *testing.T) {
	if err := os.MkdirAll(filepath.Join(folder, "deep/er"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		name := put(t, fmt.Sprintf("deep/er/%d", i), nil)
		open(t, "/rw/"+name, linux.O_RDONLY).Release()
		open(t, "/rw/deep", linux.O_DIRECTORY).Release()
		vfs.Walk(vfs.Root(), "/rw/missing", true)
		vfs.Make(vfs.Root(), "/rw/deep/node", &vfs.NewInode{Mode: linux.S_IFREG | 0o600})
		vfs.Unlink(vfs.Root(), "/rw/deep/node")
	}
	// The root's fid stays, and other tests may still hold some.
	for deadline := time.Now().Add(10 * time.Second); server.Fids() > 20; {
		if time.Now().After(deadline) {
			t.Fatalf("%d fids are still in use after 10 s", server.Fids())
		}
		runtime.GC()
		runtime.Gosched()
	}
}

// Known directories cost no extra requests.
func TestAPathIsOneRequest(t *testing.T) {
	if err := os.MkdirAll(filepath.Join(folder, "path/to/the"), 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(filepath.Join(folder, "path"))
	put(t, "path/to/the/file", nil)
	walk := func(path string) (*vfs.Dentry, linux.Errno) { return vfs.Walk(vfs.Root(), path, true) }
	file, errno := walk("/rw/path/to/the/file")
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	var walks atomic.Int32
	server.Watch(func(typ uint8) {
		if typ == 110 { // Twalk
			walks.Add(1)
		}
	})
	again, errno := walk("/rw/path/to//the/file")
	if errno != 0 || again != file || walks.Load() != 1 {
		t.Errorf("%d requests, want 1; same dentry: %v, want true; error %s", walks.Load(), again == file, errno.Name())
	}
	if _, errno := walk("/rw/path/to/the/none"); errno != linux.ENOENT {
		t.Errorf("looking up a missing name: %s, want ENOENT", errno.Name())
	}
	if up, errno := walk("/rw/path/to/../to/the/.//file"); errno != 0 || up != file {
		t.Errorf("a path with \"..\" leads to another dentry: %s", errno.Name())
	}
	// Another directory has the name now.
	if err := os.MkdirAll(filepath.Join(folder, "path/other/the"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, names := range [][2]string{{"path/to", "path/moved"}, {"path/other", "path/to"}} {
		if err := os.Rename(filepath.Join(folder, names[0]), filepath.Join(folder, names[1])); err != nil {
			t.Fatal(err)
		}
	}
	if _, errno := walk("/rw/path/to/the/file"); errno != linux.ENOENT {
		t.Errorf("the file was found in another directory: %s, want ENOENT", errno.Name())
	}
	if moved, errno := walk("/rw/path/moved/the/file"); errno != 0 || moved.Inode() != file.Inode() {
		t.Errorf("the moved file has another inode: %s", errno.Name())
	}
	runtime.KeepAlive(file)
}
