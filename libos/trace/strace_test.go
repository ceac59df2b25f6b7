package trace

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// childVar makes the test binary the traced program. It names its working directory.
const childVar = "PITH_TRACE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVar); dir != "" {
		makeCalls(dir)
		return
	}
	os.Exit(m.Run())
}

// TestLinesAreThoseOfStrace runs a program under strace. The program prints its calls
// with this package, and the test compares the two.
func TestLinesAreThoseOfStrace(t *testing.T) {
	version, err := exec.Command("strace", "--version").Output()
	if err != nil {
		t.Skip("needs strace: apt-get install strace")
	}
	// Details differ between versions of strace. The tests compare with this one.
	const followed = "version 6.1"
	if first, _, _ := strings.Cut(string(version), "\n"); !strings.HasSuffix(first, followed) {
		t.Skipf("needs strace %s, has %s", followed, first)
	}
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("strace", "-ff", "-o", filepath.Join(dir, "strace"), "-v", "-e", "abbrev=all", self)
	cmd.Env = append(os.Environ(), childVar+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "PTRACE") || strings.Contains(string(out), "ptrace") {
			t.Skipf("needs ptrace: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	ours := readLines(t, filepath.Join(dir, "ours"))
	theirs := readLines(t, filepath.Join(dir, "strace."+ours[0]))
	time := regexp.MustCompile(` <\d+\.\d{6}>( \(unsupported\))?$`)
	rest := theirs
	for _, line := range ours[1:] {
		if !time.MatchString(line) {
			t.Errorf("no time: %s", line)
		}
		line = time.ReplaceAllString(line, "")
		found := false
		for i := range rest {
			if rest[i] == line {
				rest, found = rest[i+1:], true
				break
			}
		}
		if !found {
			name, _, _ := strings.Cut(line, "(")
			t.Errorf("ours:   %s", line)
			for _, l := range rest {
				if strings.HasPrefix(l, name+"(") {
					t.Logf("strace: %s", l)
					break
				}
			}
		}
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// makeCalls makes system calls and writes their lines to the file "ours",
// after the thread's id.
func makeCalls(dir string) {
	runtime.LockOSThread()
	var lines []byte
	tracer := New(func(b []byte) { lines = append(lines, b...) })
	var keep []any
	call := func(num uintptr, args ...any) uintptr {
		var a [6]uintptr
		for i, arg := range args {
			switch v := arg.(type) {
			case int:
				a[i] = uintptr(v)
			case uintptr:
				a[i] = v
			case unsafe.Pointer:
				a[i] = uintptr(v)
				keep = append(keep, v)
			case string:
				p, _ := unix.BytePtrFromString(v)
				a[i] = uintptr(unsafe.Pointer(p))
				keep = append(keep, p)
			case []byte:
				a[i] = uintptr(unsafe.Pointer(&v[0]))
				keep = append(keep, v)
			}
		}
		c := tracer.Begin(num, &a)
		r, _, e := unix.RawSyscall6(num, a[0], a[1], a[2], a[3], a[4], a[5])
		c.End(r, linux.Errno(e))
		return r
	}
	chdir(dir)
	files(call)
	events(call)
	sockets(call)
	process(call)
	lines = append([]byte(strconv.Itoa(unix.Gettid())+"\n"), lines...)
	if err := os.WriteFile("ours", lines, 0o600); err != nil {
		panic(err)
	}
	runtime.KeepAlive(keep)
}

func chdir(dir string) {
	if err := os.Chdir(dir); err != nil {
		panic(err)
	}
}

type caller func(num uintptr, args ...any) uintptr

// on allocates v on the heap, where system calls can reach it.
func on[T any](v T) unsafe.Pointer {
	p := new(T)
	*p = v
	return unsafe.Pointer(p)
}

func files(call caller) {
	cwd := linux.AT_FDCWD
	f := call(linux.SYS_OPENAT, cwd, "file", linux.O_RDWR|linux.O_CREAT|linux.O_CLOEXEC, 0o644)
	call(linux.SYS_OPENAT, cwd, "/nonexistent", linux.O_RDONLY|linux.O_DIRECTORY)
	call(linux.SYS_OPENAT, cwd, "x\ty\"z\x01", linux.O_WRONLY|linux.O_APPEND|linux.O_SYNC)
	call(linux.SYS_WRITE, f, []byte("hello\n\x00\x01\xff world, longer than thirty-two bytes"), 45)
	call(linux.SYS_PWRITE64, f, []byte("abc\x00123"), 7, 5)
	call(linux.SYS_LSEEK, f, 0, 0)
	call(linux.SYS_READ, f, make([]byte, 100), 100)
	call(linux.SYS_READ, f, make([]byte, 100), 100)
	call(linux.SYS_READ, 1000, make([]byte, 100), 100)
	call(linux.SYS_PREAD64, f, make([]byte, 10), 10, 3)
	iov := on([2]linux.Iovec{{Base: uintptr(on([4]byte{'a', 'b', 'c', 'd'})), Len: 4}, {Base: uintptr(on([50]byte{})), Len: 50}})
	call(linux.SYS_PREADV, f, iov, 2, 0, 0)
	call(linux.SYS_WRITEV, f, iov, 2)
	var st [144]byte
	call(linux.SYS_NEWFSTATAT, cwd, "/dev/null", on(st), 0)
	call(linux.SYS_NEWFSTATAT, cwd, "/dev", on(st), linux.AT_SYMLINK_NOFOLLOW)
	call(linux.SYS_NEWFSTATAT, f, "", on(st), 0x1000)
	call(linux.SYS_NEWFSTATAT, cwd, "/nonexistent", on(st), 0)
	call(linux.SYS_FSTAT, f, on(st))
	call(linux.SYS_STATX, cwd, "file", 0x100, linux.STATX_BASIC_STATS, on(linux.Statx{}))
	call(linux.SYS_FCNTL, f, linux.F_GETFL)
	call(linux.SYS_FCNTL, f, linux.F_SETFL, linux.O_RDWR|linux.O_NONBLOCK)
	call(linux.SYS_FCNTL, f, linux.F_SETFD, 1)
	call(linux.SYS_FCNTL, f, linux.F_GETFD)
	call(linux.SYS_FCNTL, f, linux.F_DUPFD_CLOEXEC, 50)
	call(linux.SYS_FCNTL, f, linux.F_SETLK, on(linux.Flock{Type: 1, Len: 10}))
	call(linux.SYS_FCNTL, f, linux.F_GETLK, on(linux.Flock{Type: 1, Len: 10}))
	call(linux.SYS_FLOCK, f, linux.LOCK_EX|linux.LOCK_NB)
	call(linux.SYS_FTRUNCATE, f, 100)
	call(linux.SYS_FALLOCATE, f, 1, 0, 10)
	call(linux.SYS_FADVISE64, f, 0, 0, 2)
	call(linux.SYS_IOCTL, f, 0x5401, on(st))
	call(linux.SYS_IOCTL, f, 0x5413, on(st))
	call(linux.SYS_DUP3, f, 60, linux.O_CLOEXEC)
	m := call(linux.SYS_MMAP, 0, 4096, 1, 1, f, 0)
	call(linux.SYS_MMAP, 0, 4096, 3, 0x22, -1, 0)
	call(linux.SYS_MADVISE, m, 4096, 4)
	call(linux.SYS_MPROTECT, m, 4096, 0)
	call(linux.SYS_MSYNC, m, 4096, 4)
	call(linux.SYS_MUNMAP, m, 4096)
	call(linux.SYS_MKDIRAT, cwd, "dir", 0o755)
	call(linux.SYS_FCHMODAT, cwd, "dir", 0o4700)
	call(linux.SYS_UNLINKAT, cwd, "dir", 0x200)
	call(linux.SYS_SYMLINKAT, "file", cwd, "link")
	call(linux.SYS_READLINKAT, cwd, "link", make([]byte, 100), 100)
	call(linux.SYS_LINKAT, cwd, "file", cwd, "hard", 0)
	call(linux.SYS_RENAMEAT2, cwd, "hard", cwd, "harder", 1)
	call(linux.SYS_RENAMEAT, cwd, "harder", cwd, "hard")
	call(linux.SYS_UTIMENSAT, cwd, "file", 0, 0)
	call(linux.SYS_UTIMENSAT, cwd, "file", on([2]linux.Timespec{{Nsec: 0x3ffffffe}, {Nsec: 0x3fffffff}}), 0)
	call(linux.SYS_MKNODAT, cwd, "fifo", linux.S_IFIFO|0o644, 0)
	call(linux.SYS_FACCESSAT, cwd, "file", 6)
	call(linux.SYS_FACCESSAT2, cwd, "file", 0, 0x200)
	call(linux.SYS_FCHOWNAT, cwd, "file", -1, 0, 0x100)
	call(linux.SYS_UMASK, 0o22)
	call(linux.SYS_GETCWD, make([]byte, 4096), 4096)
	d := call(linux.SYS_OPENAT, cwd, ".", linux.O_RDONLY|linux.O_DIRECTORY)
	call(linux.SYS_GETDENTS64, d, make([]byte, 4096), 4096)
	call(linux.SYS_GETDENTS64, d, make([]byte, 4096), 4096)
	call(linux.SYS_COPY_FILE_RANGE, f, on(int64(5)), f, 0, 10, 0)
	call(linux.SYS_MEMFD_CREATE, "mem", 3)
	call(linux.SYS_FSYNC, f)
	call(linux.SYS_CLOSE, f)
	call(linux.SYS_CLOSE, f)
}

func events(call caller) {
	ep := call(linux.SYS_EPOLL_CREATE1, linux.EPOLL_CLOEXEC)
	p := (*[2]int32)(on([2]int32{}))
	call(linux.SYS_PIPE2, unsafe.Pointer(p), linux.O_CLOEXEC|linux.O_NONBLOCK)
	r, w := int(p[0]), int(p[1])
	call(linux.SYS_READ, r, make([]byte, 10), 10)
	et := uint32(1 << 31)
	call(linux.SYS_EPOLL_CTL, ep, linux.EPOLL_CTL_ADD, r, on(linux.EpollEvent{Events: 0x2005 | et, Data: [2]uint32{7, 1}}))
	call(linux.SYS_EPOLL_CTL, ep, linux.EPOLL_CTL_DEL, w, 0)
	call(linux.SYS_EPOLL_WAIT, ep, on([4]linux.EpollEvent{}), 4, 0)
	call(linux.SYS_WRITE, w, []byte("x"), 1)
	call(linux.SYS_IOCTL, r, linux.FIONREAD, on(int32(0)))
	call(linux.SYS_EPOLL_PWAIT, ep, on([4]linux.EpollEvent{}), 4, 0, 0, 8)
	call(linux.SYS_POLL, on([2]linux.PollFd{{Fd: int32(r), Events: 1}, {Fd: int32(w), Events: 5}}), 2, 0)
	call(linux.SYS_POLL, on([1]linux.PollFd{{Fd: int32(r), Events: 2}}), 1, 0)
	call(linux.SYS_SPLICE, r, 0, w, 0, 10, 3)
	call(linux.SYS_EVENTFD2, 3, linux.EFD_CLOEXEC|linux.EFD_NONBLOCK)
	t := call(linux.SYS_TIMERFD_CREATE, 1, linux.TFD_CLOEXEC|linux.TFD_NONBLOCK)
	call(linux.SYS_TIMERFD_SETTIME, t, 1, on(linux.Itimerspec{Interval: linux.Timespec{Sec: 1, Nsec: 2}, Value: linux.Timespec{Sec: 1e9}}), 0)
	in := call(linux.SYS_INOTIFY_INIT1, linux.O_CLOEXEC|linux.O_NONBLOCK)
	call(linux.SYS_INOTIFY_ADD_WATCH, in, ".", linux.IN_CREATE|linux.IN_MOVED_TO|linux.IN_ONLYDIR)
	call(linux.SYS_INOTIFY_RM_WATCH, in, 1)
	call(linux.SYS_INOTIFY_RM_WATCH, in, 1)
	call(linux.SYS_CLOCK_NANOSLEEP, 1, 0, on(linux.Timespec{Nsec: 1000}), 0)
	call(linux.SYS_CLOCK_GETTIME, 0, on(linux.Timespec{}))
}

func sockets(call caller) {
	s := call(linux.SYS_SOCKET, linux.AF_INET, linux.SOCK_STREAM|linux.SOCK_CLOEXEC|linux.SOCK_NONBLOCK, 0)
	s6 := call(linux.SYS_SOCKET, linux.AF_INET6, linux.SOCK_DGRAM, 17)
	su := call(linux.SYS_SOCKET, linux.AF_UNIX, linux.SOCK_STREAM, 0)
	sn := call(linux.SYS_SOCKET, linux.AF_NETLINK, linux.SOCK_RAW|linux.SOCK_CLOEXEC, 0)
	call(linux.SYS_BIND, sn, on([12]byte{16}), 12)
	call(linux.SYS_BIND, s, on([16]byte{2, 0, 0, 0, 127, 0, 0, 1}), 16)
	call(linux.SYS_LISTEN, s, 128)
	call(linux.SYS_GETSOCKNAME, s, on([128]byte{}), on(int32(100)))
	call(linux.SYS_ACCEPT4, s, on([128]byte{}), on(int32(16)), linux.SOCK_CLOEXEC)
	a6 := on([28]byte{10, 0, 0, 0, 0, 0, 0, 0, 8: 0, 23: 1})
	call(linux.SYS_BIND, s6, a6, 28)
	call(linux.SYS_GETSOCKNAME, s6, a6, on(int32(28)))
	call(linux.SYS_CONNECT, s6, on([28]byte{10, 0, 1, 2, 0, 0, 0, 0, 0xfe, 0x80, 14: 1, 23: 7, 24: 200}), 28)
	call(linux.SYS_SENDTO, s6, []byte("ab"), 2, linux.MSG_NOSIGNAL, a6, 28)
	call(linux.SYS_RECVFROM, s6, make([]byte, 10), 10, linux.MSG_DONTWAIT, on([28]byte{}), on(int32(28)))
	call(linux.SYS_CONNECT, su, on([110]byte{1, 0, '/', 'n', 'o'}), 110)
	call(linux.SYS_CONNECT, su, on([12]byte{1, 0, 0, 'n', 'o', 'n', 'e', 'x', 'i', 's', 't', 's'}), 12)
	call(linux.SYS_SETSOCKOPT, s, 1, linux.SO_REUSEADDR, on(int32(1)), 4)
	call(linux.SYS_SETSOCKOPT, s, 6, 1, on(int32(1)), 4)
	call(linux.SYS_SETSOCKOPT, s6, 41, 26, on(int32(1)), 4)
	call(linux.SYS_SETSOCKOPT, s, 1, linux.SO_LINGER, on(linux.Linger{On: 1, Seconds: 5}), 8)
	call(linux.SYS_GETSOCKOPT, s, 1, linux.SO_ERROR, on(int32(0)), on(int32(4)))
	call(linux.SYS_GETSOCKOPT, s, 1, linux.SO_TYPE, on(int64(0)), on(int32(8)))
	p := (*[2]int32)(on([2]int32{}))
	call(linux.SYS_SOCKETPAIR, linux.AF_UNIX, linux.SOCK_DGRAM|linux.SOCK_CLOEXEC, 0, unsafe.Pointer(p))
	buf := on([8]byte{'a', 'b', 'c'})
	msg := linux.Msghdr{Iov: uintptr(on([1]linux.Iovec{{Base: uintptr(buf), Len: 3}})), Iovlen: 1}
	call(linux.SYS_SENDMSG, int(p[0]), on(msg), 0)
	call(linux.SYS_RECVMSG, int(p[1]), on(msg), linux.MSG_DONTWAIT|linux.MSG_CMSG_CLOEXEC)
	rights := on([24]byte{20, 8: 1, 12: 1, 16: 2})
	msg.Control, msg.Controllen = uintptr(rights), 24
	call(linux.SYS_SENDMSG, int(p[0]), on(msg), linux.MSG_NOSIGNAL)
	call(linux.SYS_RECVMSG, int(p[1]), on(msg), linux.MSG_DONTWAIT)
	call(linux.SYS_RECVMSG, int(p[1]), on(msg), linux.MSG_DONTWAIT)
	call(linux.SYS_SHUTDOWN, int(p[0]), linux.SHUT_WR)
}

func process(call caller) {
	call(linux.SYS_GETPID)
	call(linux.SYS_KILL, unix.Getpid(), 0)
	call(linux.SYS_UNAME, on([390]byte{}))
	call(linux.SYS_PRLIMIT64, 0, 7, 0, on([2]uint64{}))
	call(linux.SYS_GETRANDOM, make([]byte, 40), 40, 1)
	call(linux.SYS_SCHED_YIELD)
	call(999, 1, 2, 3)
}
