package rootfs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

func pack(entries ...string) []byte {
	var b []byte
	pad := func() {
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	add := func(ino, nlink, mode int, name, data string) {
		b = fmt.Appendf(b, "070701%08x%08x%08x%08x%08x%08x%08x%032x%08x%08x", ino, mode, 0, 0, nlink, 1000, len(data), 0, len(name)+1, 0)
		b = append(append(b, name...), 0)
		pad()
		b = append(b, data...)
		pad()
	}
	for i, e := range entries {
		f := strings.SplitN(e, " ", 3)
		mode, ino, nlink := 0o100644, i+10, 1
		switch f[0] {
		case "dir":
			mode = 0o40700
		case "link":
			mode = 0o120777
		case "hard":
			ino, nlink = 1, 2
		}
		add(ino, nlink, mode, f[1], f[2])
	}
	add(0, 1, 0, "TRAILER!!!", "")
	return b
}

func open(t *testing.T, path string, flags uint32) file.File {
	t.Helper()
	f, errno := vfs.Open(vfs.Root(), path, flags, 0o600)
	if errno != 0 {
		t.Fatalf("%s: %s", path, errno.Name())
	}
	return f
}

func content(t *testing.T, path string) string {
	t.Helper()
	f := open(t, path, linux.O_RDONLY)
	defer f.Release()
	p := make([]byte, 1000)
	n, errno := f.Read(p)
	if errno != 0 {
		t.Fatalf("%s: %s", path, errno.Name())
	}
	return string(p[:n])
}

// A process builds the tree once, so this is the only test that looks at it.
func TestRootOfAnArchive(t *testing.T) {
	a := pack("dir etc/ ", "file etc/hosts mine", "file ./app/data/x deep", "link app/ln data/x",
		"hard one ", "hard two shared", "dir . ")
	before := string(a)
	fs, err := build(a, &boot.Config{Hostname: "h", Memory: 64 << 20, Net: &boot.Net{Addr4: "10.0.0.2/24", DNS: []string{"1.1.1.1"}}}, false)
	if err != nil {
		t.Fatal(err)
	}
	vfs.AddMount("test", "/test", "rw", fs.Root)
	for path, want := range map[string]string{
		"/test/etc/hosts": "mine", "/test/app/ln": "deep", "/test/one": "shared", "/test/two": "shared",
		"/test/etc/resolv.conf": "nameserver 1.1.1.1\n", "/test/etc/hostname": "h\n",
	} {
		if got := content(t, path); got != want {
			t.Errorf("%s has %q, want %q", path, got, want)
		}
	}
	f := open(t, "/test/etc/hosts", linux.O_WRONLY|linux.O_APPEND)
	if _, errno := f.Write([]byte(" and more")); errno != 0 {
		t.Fatal(errno.Name())
	}
	f.Release()
	if got := content(t, "/test/etc/hosts"); got != "mine and more" {
		t.Errorf("after appending, /test/etc/hosts has %q", got)
	}
	if string(a) != before {
		t.Error("a write to a file changed the archive")
	}
	for path, mode := range map[string]uint32{"/test/etc": 0o40700, "/test/tmp": 0o41777, "/test/app": 0o40755, "/tmp": 0o41777} {
		d, errno := vfs.Walk(vfs.Root(), path, true)
		if errno != 0 {
			t.Fatalf("%s: %s", path, errno.Name())
		}
		var st linux.Stat
		if d.Inode().Stat(&st); st.Mode != mode {
			t.Errorf("%s has mode %o, want %o", path, st.Mode, mode)
		}
	}
	if m := vfs.Mounts(); len(m) != 2 || m[0].Path != "/" || m[1].Path != "/test" {
		t.Errorf("mounts are %v, want / and /test", m)
	}
}

func TestNameServersOfAVMAreConfiguredOrLearned(t *testing.T) {
	given := &boot.Net{Addr4: "10.0.0.2/24", DNS: []string{"1.1.1.1"}}
	for _, c := range []struct {
		net  *boot.Net
		vm   bool
		mode uint32
		data string
	}{
		{given, true, linux.S_IFREG | 0o644, "nameserver 1.1.1.1\n"},
		{nil, true, linux.S_IFLNK | 0o777, "/proc/net/pnp"},
		{&boot.Net{MAC: "02:00:00:00:00:01"}, true, linux.S_IFLNK | 0o777, "/proc/net/pnp"},
		{&boot.Net{MAC: "02:00:00:00:00:01", DNS: []string{"1.1.1.1"}}, true, linux.S_IFREG | 0o644, "nameserver 1.1.1.1\n"},
		{nil, false, linux.S_IFREG | 0o644, ""},
	} {
		if f := resolvConf(&boot.Config{Net: c.net}, c.vm); f.mode != c.mode || f.data != c.data {
			t.Errorf("%+v, vm %v: mode %o, data %q; want mode %o, data %q", c.net, c.vm, f.mode, f.data, c.mode, c.data)
		}
	}
}

func TestBadRootFilesAreErrors(t *testing.T) {
	for name, a := range map[string][]byte{
		"leads out of the root": pack("file ../x y"),
		"is there twice":        pack("file x y", "file x y"),
		"below a file":          pack("file x y", "file x/z y"),
		"not an archive":        []byte("hello"),
	} {
		if _, err := build(a, &boot.Config{}, false); err == nil {
			t.Errorf("%s: build accepted the archive", name)
		}
	}
}
