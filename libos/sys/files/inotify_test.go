package files_test

import (
	"os"
	"strconv"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"
	"github.com/pith-os/pith/libos/sys/systest"
)

// inotifyEvents logs the events of an inotify descriptor.
func inotifyEvents(k *systest.Kernel, label string, fd uintptr) {
	b := make([]byte, 4096)
	n, errno := k.Raw(linux.SYS_READ, fd, systest.Addr(&b[0]), uintptr(len(b)))
	if errno != 0 {
		k.Note("%s: %s", label, errno.Name())
		return
	}
	cookies := map[uint32]int{0: 0}
	for b = b[:n]; len(b) > 0; {
		h := (*[4]uint32)(unsafe.Pointer(&b[0]))
		if _, ok := cookies[h[2]]; !ok {
			cookies[h[2]] = len(cookies)
		}
		k.Note("%s: wd %d mask %#x cookie %d name %q", label, int32(h[0]), h[1], cookies[h[2]], b[16:16+h[3]])
		b = b[16+h[3]:]
	}
}

func TestInotifyAsLinux(t *testing.T) {
	dir := "/tmp/pith-inotify-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { os.RemoveAll(dir) })
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		path := func(name string) uintptr { return systest.Addr(unsafe.StringData(dir + name + "\x00")) }
		open := func(name string, flags uintptr) uintptr {
			return k.FD(t, linux.SYS_OPEN, path(name), flags, 0o644)
		}
		k.Do("mkdir", linux.SYS_MKDIR, path(""), 0o755)
		in := k.FD(t, linux.SYS_INOTIFY_INIT1, linux.O_NONBLOCK|linux.O_CLOEXEC)
		watch := func(label, name string, mask uintptr) uintptr {
			wd, _ := k.Do("watch "+label, linux.SYS_INOTIFY_ADD_WATCH, in, path(name), mask)
			return wd
		}
		const all = 0xfff
		inotifyEvents(k, "nothing yet", in)
		k.Level("nothing yet", in)

		watch("directory", "", all|linux.IN_ONLYDIR)
		f := open("/a", linux.O_RDWR|linux.O_CREAT)
		k.Write("write", f, "abc")
		k.Write("write again", f, "abc")
		k.Do("lseek", linux.SYS_LSEEK, f, 0, 0)
		k.Read("read", f, 10)
		k.Do("ftruncate", linux.SYS_FTRUNCATE, f, 1)
		k.Do("fchmod", linux.SYS_FCHMOD, f, 0o600)
		k.Level("events", in)
		k.Close(f)
		inotifyEvents(k, "file", in)

		k.Do("mkdir", linux.SYS_MKDIR, path("/sub"), 0o755)
		k.Do("rename", linux.SYS_RENAME, path("/a"), path("/sub/b"))
		k.Do("rename", linux.SYS_RENAME, path("/sub/b"), path("/c"))
		k.Do("rename", linux.SYS_RENAME, path("/c"), path("/a-longer-name-than-16"))
		k.Do("symlink", linux.SYS_SYMLINK, path("/a"), path("/link"))
		k.Do("rename directory", linux.SYS_RENAME, path("/sub"), path("/dub"))
		k.Do("link", linux.SYS_LINK, path("/a-longer-name-than-16"), path("/hard"))
		k.Do("unlink", linux.SYS_UNLINK, path("/hard"))
		k.Do("unlink", linux.SYS_UNLINK, path("/link"))
		k.Do("rmdir", linux.SYS_RMDIR, path("/dub"))
		inotifyEvents(k, "names", in)

		f = open("/file", linux.O_WRONLY|linux.O_CREAT)
		k.Close(f)
		inotifyEvents(k, "created", in)
		watch("not a directory", "/file", linux.IN_MODIFY|linux.IN_ONLYDIR)
		watch("missing", "/missing", linux.IN_MODIFY)
		watch("nothing", "/file", 0)
		watch("both", "/file", linux.IN_MODIFY|linux.IN_MASK_ADD|linux.IN_MASK_CREATE)
		wd := watch("file", "/file", linux.IN_ATTRIB)
		watch("file again", "/file", linux.IN_OPEN|linux.IN_MASK_ADD)
		watch("file exists", "/file", linux.IN_OPEN|linux.IN_MASK_CREATE)
		k.Close(open("/file", linux.O_RDONLY))
		k.Do("chmod", linux.SYS_CHMOD, path("/file"), 0o640)
		inotifyEvents(k, "two watches", in)
		k.Do("remove", linux.SYS_INOTIFY_RM_WATCH, in, wd)
		k.Do("remove again", linux.SYS_INOTIFY_RM_WATCH, in, wd)
		k.Do("remove of no inotify", linux.SYS_INOTIFY_RM_WATCH, 0, wd)
		inotifyEvents(k, "removed", in)

		watch("once", "/file", linux.IN_OPEN|linux.IN_ONESHOT)
		k.Close(open("/file", linux.O_RDONLY))
		k.Close(open("/file", linux.O_RDONLY))
		inotifyEvents(k, "once", in)

		watch("deletion", "/file", linux.IN_DELETE_SELF|linux.IN_MOVE_SELF|linux.IN_ATTRIB)
		k.Do("rename", linux.SYS_RENAME, path("/file"), path("/moved"))
		k.Do("unlink", linux.SYS_UNLINK, path("/moved"))
		inotifyEvents(k, "deletion", in)

		k.Close(open("/x", linux.O_WRONLY|linux.O_CREAT))
		k.Read("small buffer", in, 16)
		k.Do("ioctl", linux.SYS_IOCTL, in, linux.FIONREAD, systest.Addr(new(int32)))
		inotifyEvents(k, "after the small buffer", in)
		k.Do("unlink", linux.SYS_UNLINK, path("/x"))
		k.Do("unlink", linux.SYS_UNLINK, path("/a-longer-name-than-16"))
		inotifyEvents(k, "before the directory goes", in)
		k.Do("rmdir", linux.SYS_RMDIR, path(""))
		inotifyEvents(k, "the directory is gone", in)
		k.Do("write", linux.SYS_WRITE, in, systest.Addr(new([8]byte)), 8)
		k.Close(in)
	})
}

func TestInotifyOverflowAsLinux(t *testing.T) {
	dir := "/tmp/pith-overflow-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { os.RemoveAll(dir) })
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		path := systest.Addr(unsafe.StringData(dir + "\x00"))
		k.Do("mkdir", linux.SYS_MKDIR, path, 0o755)
		in := k.FD(t, linux.SYS_INOTIFY_INIT1, linux.O_NONBLOCK)
		k.Do("watch", linux.SYS_INOTIFY_ADD_WATCH, in, path, linux.IN_ATTRIB|linux.IN_OPEN)
		for range 9000 { // two events each, more than max_queued_events
			k.Raw(linux.SYS_CHMOD, path, 0o755)
			k.Close(k.FD(t, linux.SYS_OPEN, path, linux.O_RDONLY))
		}
		b := make([]byte, 1<<20)
		n, _ := k.Raw(linux.SYS_READ, in, systest.Addr(&b[0]), uintptr(len(b)))
		last := (*[4]uint32)(unsafe.Pointer(&b[n-16]))
		k.Note("%d bytes, last: wd %d mask %#x", n, int32(last[0]), last[1])
		k.Do("rmdir", linux.SYS_RMDIR, path)
		k.Close(in)
	})
}

func TestReadingInotifyWaitsForAnEvent(t *testing.T) {
	dir := systest.Addr(unsafe.StringData("/tmp\x00"))
	in, errno := sys.Call(linux.SYS_INOTIFY_INIT, 0, 0, 0, 0, 0, 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer sys.Call(linux.SYS_CLOSE, in, 0, 0, 0, 0, 0)
	if _, errno := sys.Call(linux.SYS_INOTIFY_ADD_WATCH, in, dir, linux.IN_ATTRIB, 0, 0, 0); errno != 0 {
		t.Fatal(errno.Name())
	}
	got := make(chan uintptr)
	go func() {
		b := make([]byte, 64)
		n, _ := sys.Call(linux.SYS_READ, in, systest.Addr(&b[0]), 64, 0, 0, 0)
		got <- n
	}()
	// The reader must get the event, whether it waits already or comes later.
	sys.Call(linux.SYS_CHMOD, dir, 0o777, 0, 0, 0, 0)
	if n := <-got; n != 16 {
		t.Errorf("read %d bytes", n)
	}
}
