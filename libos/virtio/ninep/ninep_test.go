package ninep

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/vfs/ninep/ninetest"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// folder returns a device that shares dir.
func folder(tag, dir string, queue int) *virtiotest.Device {
	config := append([]byte{byte(len(tag)), 0}, tag...)
	d := virtiotest.New(virtio.IDNineP, featureMountTag, config, queue)
	server := ninetest.New(dir)
	d.Queue(0).Serve(func(c *virtiotest.Chain) int { return c.Fill(server.Handle(c.Bytes())) })
	return d
}

func open(t testing.TB, v *virtiotest.Device) *Device {
	t.Helper()
	d, errno := Open(v)
	if errno == 0 {
		errno = d.Start()
	}
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(d.dev.Shutdown)
	return d
}

// child opens the regular file name in directory i.
func child(t testing.TB, i vfs.Inode, name string, flags uint32) interface {
	Pread([]byte, int64) (int, linux.Errno)
	Pwrite([]byte, int64) (int, linux.Errno)
	Release()
} {
	t.Helper()
	top := vfs.NewDentry(nil, "/", i)
	d, errno := i.(vfs.Dir).Lookup(top, name)
	if errno != 0 {
		t.Fatalf("%s: %s", name, errno.Name())
	}
	f, errno := d.Inode().Open(d, flags)
	if errno != 0 {
		t.Fatalf("%s: %s", name, errno.Name())
	}
	return f
}

func TestAFolderServesConcurrentRequests(t *testing.T) {
	for _, queue := range []int{2, 4, 128} {
		dir := t.TempDir()
		d := open(t, folder("share", dir, queue))
		if d.Tag() != "share" {
			t.Errorf("the tag is %q, want share", d.Tag())
		}
		fs, errno := ninep.New(d, false)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		var done sync.WaitGroup
		for n := range 12 {
			done.Go(func() {
				name := string(rune('a' + n))
				data := make([]byte, 300_000+n)
				rand.NewChaCha8([32]byte{byte(n)}).Read(data)
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Error(err)
					return
				}
				f := child(t, fs.Root(), name, linux.O_RDWR)
				defer f.Release()
				if put, errno := f.Pwrite(data, 0); put != len(data) || errno != 0 {
					t.Errorf("wrote %d bytes: %s", put, errno.Name())
				}
				back := make([]byte, len(data)+10)
				if got, errno := f.Pread(back, 0); got != len(data) || errno != 0 || !bytes.Equal(back[:got], data) {
					t.Errorf("read %d bytes, or the data differ: %s", got, errno.Name())
				}
			})
		}
		done.Wait()
	}
}

// When the device breaks, requests in flight and later ones fail.
func TestRequestsOnABrokenDeviceFail(t *testing.T) {
	for name, fail := range map[string]func(v *virtiotest.Device){
		"lies":  func(v *virtiotest.Device) { v.Queue(0).Lie(9, 9) },
		"fails": func(v *virtiotest.Device) { v.NeedReset() },
	} {
		v := folder("x", t.TempDir(), 16)
		d := open(t, v)
		fs, errno := ninep.New(d, false)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		v.Queue(0).OnNotify(func() { fail(v) })
		var st linux.Stat
		for range 2 {
			if errno := fs.Root().(vfs.Remote).TryStat(&st); errno != linux.EIO {
				t.Errorf("%s: stat returned %s, want EIO", name, errno.Name())
			}
		}
	}
}

func TestBadConfigurationsAreErrors(t *testing.T) {
	for name, config := range map[string][]byte{
		"none": nil, "no tag": {0, 0}, "longer than it is": {5, 0, 'x'}, "too long": append([]byte{0, 2}, make([]byte, 512)...),
	} {
		if _, errno := Open(virtiotest.New(virtio.IDNineP, featureMountTag, config, 16)); errno == 0 {
			t.Errorf("%s: Open accepted the configuration", name)
		}
	}
	if _, errno := Open(virtiotest.New(virtio.IDNineP, featureMountTag, []byte{1, 0, 'x'})); errno == 0 {
		t.Error("Open accepted a device without a queue")
	}
}

// FuzzLyingDevice runs a device whose replies and lengths come from the fuzzer.
// Every request must end.
func FuzzLyingDevice(f *testing.F) {
	f.Add([]byte("begin"))
	f.Fuzz(func(t *testing.T, script []byte) {
		defer platform.HostedForgetDMA()
		dir := t.TempDir()
		v := virtiotest.New(virtio.IDNineP, featureMountTag, []byte{1, 0, 'x'}, 8)
		server := ninetest.New(dir)
		defer server.Close()
		next := func() byte {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return b
		}
		q := v.Queue(0)
		q.OnNotify(func() {
			for c, ok := q.Pop(); ok; c, ok = q.Pop() {
				reply := server.Handle(c.Bytes())
				switch n := next(); {
				case n < 8:
					reply[int(next())%len(reply)] ^= n + 1
					q.Push(c, c.Fill(reply))
				case n == 8:
					q.Lie(uint32(next()), uint32(next())<<12)
					q.Push(c, 0)
				case n == 9:
					q.LieIndex(uint16(next()))
					q.Push(c, 0)
				case n == 10:
					q.Push(c, int(next()))
				case n == 11:
					q.Push(c, c.Fill(reply))
					q.Push(c, 1) // used twice
				default:
					q.Push(c, c.Fill(reply))
				}
			}
		})
		d := open(t, v)
		fs, errno := ninep.New(d, false)
		if errno != 0 {
			return
		}
		exercise(fs.Root().(vfs.MutableDir))
	})
}

// exercise makes requests of each kind and ignores their results.
func exercise(root vfs.MutableDir) {
	top := vfs.NewDentry(nil, "/", root)
	d, errno := root.Make(top, "f", &vfs.NewInode{Mode: linux.S_IFREG | 0o600})
	if errno == 0 {
		if f, errno := d.Inode().Open(d, linux.O_RDWR); errno == 0 {
			f.Write([]byte("hello"))
			f.Pread(make([]byte, 100), 0)
			f.Sync()
			f.Release()
		}
	}
	if f, errno := root.Open(top, 0); errno == 0 {
		n := 0
		f.(*vfs.DirFile).ReadDir(func(vfs.DirEntry) bool { n++; return n < 10 })
		f.Release()
	}
	var st linux.Stat
	root.Stat(&st)
	root.Make(top, "d", &vfs.NewInode{Mode: linux.S_IFDIR | 0o700})
	root.Make(top, "l", &vfs.NewInode{Mode: linux.S_IFLNK, Target: "f"})
	if d, errno := root.Lookup(top, "l"); errno == 0 {
		if l, ok := d.Inode().(vfs.Symlink); ok {
			l.Readlink()
		}
	}
}
