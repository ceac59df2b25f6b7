package sys

import (
	"os"
	"strconv"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// inotifyEvents writes down what an inotify descriptor tells.
func (k *kernel) inotifyEvents(label string, fd uintptr) {
	b := make([]byte, 4096)
	n, errno := k.raw(linux.SYS_READ, fd, addr(&b[0]), uintptr(len(b)))
	if errno != 0 {
		k.note("%s: %s", label, errno.Name())
		return
	}
	cookies := map[uint32]int{0: 0}
	for b = b[:n]; len(b) > 0; {
		h := (*[4]uint32)(unsafe.Pointer(&b[0]))
		if _, ok := cookies[h[2]]; !ok {
			cookies[h[2]] = len(cookies)
		}
		k.note("%s: wd %d mask %#x cookie %d name %q", label, int32(h[0]), h[1], cookies[h[2]], b[16:16+h[3]])
		b = b[16+h[3]:]
	}
}

func TestInotifyAsLinux(t *testing.T) {
	dir := "/tmp/pith-inotify-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { os.RemoveAll(dir) })
	differ(t, func(t *testing.T, k *kernel) {
		path := func(name string) uintptr { return addr(unsafe.StringData(dir + name + "\x00")) }
		open := func(name string, flags uintptr) uintptr {
			return k.fd(t, linux.SYS_OPEN, path(name), flags, 0o644)
		}
		k.do("mkdir", linux.SYS_MKDIR, path(""), 0o755)
		in := k.fd(t, linux.SYS_INOTIFY_INIT1, linux.O_NONBLOCK|linux.O_CLOEXEC)
		watch := func(label, name string, mask uintptr) uintptr {
			wd, _ := k.do("watch "+label, linux.SYS_INOTIFY_ADD_WATCH, in, path(name), mask)
			return wd
		}
		const all = 0xfff
		k.inotifyEvents("nothing yet", in)
		k.level("nothing yet", in)

		watch("directory", "", all|linux.IN_ONLYDIR)
		f := open("/a", linux.O_RDWR|linux.O_CREAT)
		k.write("write", f, "abc")
		k.write("write again", f, "abc")
		k.do("lseek", linux.SYS_LSEEK, f, 0, 0)
		k.read("read", f, 10)
		k.do("ftruncate", linux.SYS_FTRUNCATE, f, 1)
		k.do("fchmod", linux.SYS_FCHMOD, f, 0o600)
		k.level("events", in)
		k.close(f)
		k.inotifyEvents("file", in)

		k.do("mkdir", linux.SYS_MKDIR, path("/sub"), 0o755)
		k.do("rename", linux.SYS_RENAME, path("/a"), path("/sub/b"))
		k.do("rename", linux.SYS_RENAME, path("/sub/b"), path("/c"))
		k.do("rename", linux.SYS_RENAME, path("/c"), path("/a-longer-name-than-16"))
		k.do("symlink", linux.SYS_SYMLINK, path("/a"), path("/link"))
		k.do("rename directory", linux.SYS_RENAME, path("/sub"), path("/dub"))
		k.do("link", linux.SYS_LINK, path("/a-longer-name-than-16"), path("/hard"))
		k.do("unlink", linux.SYS_UNLINK, path("/hard"))
		k.do("unlink", linux.SYS_UNLINK, path("/link"))
		k.do("rmdir", linux.SYS_RMDIR, path("/dub"))
		k.inotifyEvents("names", in)

		f = open("/file", linux.O_WRONLY|linux.O_CREAT)
		k.close(f)
		k.inotifyEvents("created", in)
		watch("not a directory", "/file", linux.IN_MODIFY|linux.IN_ONLYDIR)
		watch("missing", "/missing", linux.IN_MODIFY)
		watch("nothing", "/file", 0)
		watch("both", "/file", linux.IN_MODIFY|linux.IN_MASK_ADD|linux.IN_MASK_CREATE)
		wd := watch("file", "/file", linux.IN_ATTRIB)
		watch("file again", "/file", linux.IN_OPEN|linux.IN_MASK_ADD)
		watch("file exists", "/file", linux.IN_OPEN|linux.IN_MASK_CREATE)
		k.close(open("/file", linux.O_RDONLY))
		k.do("chmod", linux.SYS_CHMOD, path("/file"), 0o640)
		k.inotifyEvents("two watches", in)
		k.do("remove", linux.SYS_INOTIFY_RM_WATCH, in, wd)
		k.do("remove again", linux.SYS_INOTIFY_RM_WATCH, in, wd)
		k.do("remove of no inotify", linux.SYS_INOTIFY_RM_WATCH, 0, wd)
		k.inotifyEvents("removed", in)

		watch("once", "/file", linux.IN_OPEN|linux.IN_ONESHOT)
		k.close(open("/file", linux.O_RDONLY))
		k.close(open("/file", linux.O_RDONLY))
		k.inotifyEvents("once", in)

		watch("deletion", "/file", linux.IN_DELETE_SELF|linux.IN_MOVE_SELF|linux.IN_ATTRIB)
		k.do("rename", linux.SYS_RENAME, path("/file"), path("/moved"))
		k.do("unlink", linux.SYS_UNLINK, path("/moved"))
		k.inotifyEvents("deletion", in)

		k.close(open("/x", linux.O_WRONLY|linux.O_CREAT))
		k.read("small buffer", in, 16)
		k.do("ioctl", linux.SYS_IOCTL, in, linux.FIONREAD, addr(new(int32)))
		k.inotifyEvents("after the small buffer", in)
		k.do("unlink", linux.SYS_UNLINK, path("/x"))
		k.do("unlink", linux.SYS_UNLINK, path("/a-longer-name-than-16"))
		k.inotifyEvents("before the directory goes", in)
		k.do("rmdir", linux.SYS_RMDIR, path(""))
		k.inotifyEvents("the directory is gone", in)
		k.do("write", linux.SYS_WRITE, in, addr(new([8]byte)), 8)
		k.close(in)
	})
}

func TestInotifyOverflowAsLinux(t *testing.T) {
	dir := "/tmp/pith-overflow-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { os.RemoveAll(dir) })
	differ(t, func(t *testing.T, k *kernel) {
		path := addr(unsafe.StringData(dir + "\x00"))
		k.do("mkdir", linux.SYS_MKDIR, path, 0o755)
		in := k.fd(t, linux.SYS_INOTIFY_INIT1, linux.O_NONBLOCK)
		k.do("watch", linux.SYS_INOTIFY_ADD_WATCH, in, path, linux.IN_ATTRIB|linux.IN_OPEN)
		for range 9000 { // two events each, more than max_queued_events
			k.raw(linux.SYS_CHMOD, path, 0o755)
			k.close(k.fd(t, linux.SYS_OPEN, path, linux.O_RDONLY))
		}
		b := make([]byte, 1<<20)
		n, _ := k.raw(linux.SYS_READ, in, addr(&b[0]), uintptr(len(b)))
		last := (*[4]uint32)(unsafe.Pointer(&b[n-16]))
		k.note("%d bytes, last: wd %d mask %#x", n, int32(last[0]), last[1])
		k.do("rmdir", linux.SYS_RMDIR, path)
		k.close(in)
	})
}

func TestReadingInotifyWaitsForAnEvent(t *testing.T) {
	dir := addr(unsafe.StringData("/tmp\x00"))
	in, errno := Call(linux.SYS_INOTIFY_INIT, 0, 0, 0, 0, 0, 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer Call(linux.SYS_CLOSE, in, 0, 0, 0, 0, 0)
	if _, errno := Call(linux.SYS_INOTIFY_ADD_WATCH, in, dir, linux.IN_ATTRIB, 0, 0, 0); errno != 0 {
		t.Fatal(errno.Name())
	}
	got := make(chan uintptr)
	go func() {
		b := make([]byte, 64)
		n, _ := Call(linux.SYS_READ, in, addr(&b[0]), 64, 0, 0, 0)
		got <- n
	}()
	// Whether the reader waits already or comes later, it must get the event.
	Call(linux.SYS_CHMOD, dir, 0o777, 0, 0, 0, 0)
	if n := <-got; n != 16 {
		t.Errorf("read %d bytes", n)
	}
}
