package ninep

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// strs are the names and other strings of a lying client.
var strs = []string{"file", "dir", "deep", "in", "out", "up", "..", ".", "", "new", "a/b", "../secret", "x\x00", "/etc/passwd", strings.Repeat("n", 300), "fifo"}

// script is the fuzzer's input, which determines what the client does.
type script struct{ b []byte }

func (s *script) next() int {
	if len(s.b) == 0 {
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return int(v)
}

// number returns a fid or another number, valid or not.
func (s *script) number() uint32 {
	v := s.next()
	if v >= 240 {
		return []uint32{0xffffffff, 0x7fffffff, 1 << 31, 1 << 16}[v%4]
	}
	return uint32(v % 16)
}

func (s *script) str() string { return strs[s.next()%len(strs)] }

// request returns a request of any kind, mostly with the right fields.
func (s *script) request() []byte {
	num, other, name := s.number(), s.number(), s.str()
	switch s.next() % 24 {
	case 0:
		return message(wire.Tattach, 1, num, uint32(wire.NoFid), "", []string{"rw", "ro", "none"}[s.next()%3], 0)
	case 1, 2, 3:
		return message(wire.Twalk, 1, num, other, uint16(1), name)
	case 4:
		return message(wire.Twalk, 1, num, other, uint16(2), name, s.str())
	case 5:
		return message(wire.Twalk, 1, num, other, uint16(s.number()))
	case 6, 7:
		return message(wire.Tlopen, 1, num, other)
	case 8:
		return message(wire.Tlcreate, 1, num, name, other, s.number(), 0)
	case 9:
		return message(wire.Tread, 1, num, uint64(other), s.number())
	case 10:
		return message(wire.Twrite, 1, num, uint64(s.next()), []byte(name))
	case 11:
		return message(wire.Treaddir, 1, num, uint64(other), s.number()*100)
	case 12:
		return message(wire.Tsetattr, 1, num, s.next(), other, s.number(), s.number(), uint64(s.next()),
			uint64(1), uint64(1), uint64(1), uint64(s.number()))
	case 13:
		return message(wire.Tsymlink, 1, num, name, s.str(), 0)
	case 14:
		return message(wire.Tmknod, 1, num, name, s.number()<<12, 1, 3, 0)
	case 15:
		return message(wire.Tlink, 1, num, other, name)
	case 16:
		return message(wire.Tmkdir, 1, num, name, other, 0)
	case 17:
		return message(wire.Trenameat, 1, num, name, other, s.str())
	case 18:
		return message(wire.Tunlinkat, 1, num, name, []int{0, wire.RemoveDir, 1}[s.next()%3])
	case 19:
		return message([]uint8{wire.Tclunk, wire.Tremove}[s.next()%2], 1, num)
	case 20:
		return message([]uint8{wire.Tgetattr, wire.Tstatfs, wire.Treadlink, wire.Tfsync}[s.next()%4], 1, num)
	case 21:
		return message(wire.Tgetattr, 1, num, uint64(0))
	case 22:
		return message(wire.Tversion, wire.NoTag, s.number()*1000, wire.Version)
	}
	return message(uint8(s.next()), 1, num, other, name)
}

// FuzzLyingClient makes arbitrary requests. Each request must have one reply,
// of an allowed length. Nothing may change except in the writable folder.
func FuzzLyingClient(f *testing.F) {
	f.Add([]byte("some bytes to begin with, which make a few requests of several kinds"))
	f.Add([]byte{0, 0, 0, 0, 1, 1, 0, 0, 1, 2, 0, 4, 1, 5, 3, 2, 0, 6, 1, 0, 2, 7, 6})
	if err := unix.Access("/dev/shm", unix.W_OK); err == nil {
		f.Setenv("TMPDIR", "/dev/shm") // Tfsync is fast there
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		folder, outside := shared(t)
		readOnly, _ := shared(t)
		before, open := tree(t, readOnly), descriptors(t)
		s, err := New([]Folder{{Name: "rw", Path: folder}, {Name: "ro", Path: readOnly, ReadOnly: true}}, testMessage)
		if err != nil {
			t.Fatal(err)
		}
		c := &client{t, s, make([]byte, testMessage)}
		c.ok(wire.Tversion, uint32(testMessage), wire.Version)
		c.attach(0, "rw")
		c.attach(1, "ro")
		for in := (script{b}); len(in.b) > 0; {
			req := in.request()
			if cut := in.next(); cut > 250 {
				req = req[:cut%len(req)]
			}
			if len(req) < wire.Head {
				continue
			}
			_, _ = c.raw(req)
		}
		s.Close()
		if got := descriptors(t); got != open {
			t.Errorf("%d descriptors are open, before the test %d", got, open)
		}
		if after := tree(t, readOnly); after != before {
			t.Errorf("the read-only folder is now\n%s, before the test\n%s", after, before)
		}
		if all, err := os.ReadDir(filepath.Dir(folder)); err != nil || len(all) != 2 || read(t, outside) != "secret" {
			t.Errorf("something outside the folder has changed: %v, %v", all, err)
		}
		clean(t, folder)
	})
}

// tree describes the contents of a folder, without access times.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String())
		if info.Mode().IsRegular() {
			b.WriteString(" " + read(t, path))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// clean makes the directories of the folder accessible, so that the test can
// remove it.
func clean(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.IsDir() {
			clean(t, filepath.Join(dir, e.Name()))
		}
	}
}
