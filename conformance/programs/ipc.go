package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func pipes() {
	r, w, err := os.Pipe()
	check(err)
	go func() {
		must(io.WriteString(w, strings.Repeat("line\n", 100_000)))
		check(w.Close())
	}()
	data := must(io.ReadAll(r))
	show("through", len(data))
	check(r.Close())

	r, w, err = os.Pipe()
	check(err)
	check(r.SetReadDeadline(time.Now().Add(5 * time.Millisecond)))
	_, err = r.Read(make([]byte, 1))
	show("deadline", errors.Is(err, os.ErrDeadlineExceeded), err)
	check(r.SetReadDeadline(time.Time{}))
	closed := make(chan error)
	go func() {
		_, err := r.Read(make([]byte, 1))
		closed <- err
	}()
	time.Sleep(time.Millisecond)
	check(r.Close())
	show("closed while reading", errors.Is(<-closed, os.ErrClosed))
	_, err = w.WriteString("x")
	show("nobody reads", err, errors.Is(err, syscall.EPIPE))
	check(w.Close())

	r, w, err = os.Pipe()
	check(err)
	check(w.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)))
	n, err := w.Write(make([]byte, 1<<20))
	show("full", n, err)
	check(errors.Join(r.Close(), w.Close()))

	scratch()
	check(syscall.Mkfifo("fifo", 0o600))
	show("fifo", must(os.Stat("fifo")).Mode())
	go func() {
		f := must(os.OpenFile("fifo", os.O_WRONLY, 0))
		must(f.WriteString("named"))
		check(f.Close())
	}()
	show("read", string(must(os.ReadFile("fifo"))))
}

func locks() {
	scratch()
	open := func() int { return must(syscall.Open("lock", syscall.O_RDWR|syscall.O_CREAT, 0o600)) }
	a, b := open(), open()
	try := func(fd, how int) error { return syscall.Flock(fd, how|syscall.LOCK_NB) }
	show("exclusive", try(a, syscall.LOCK_EX))
	show("second", try(b, syscall.LOCK_EX))
	show("shared while exclusive", try(b, syscall.LOCK_SH))
	show("downgrade", try(a, syscall.LOCK_SH), try(b, syscall.LOCK_SH))
	show("upgrade while shared", try(a, syscall.LOCK_EX))
	show("release", try(b, syscall.LOCK_UN), try(a, syscall.LOCK_EX))
	waited := make(chan error)
	go func() { waited <- syscall.Flock(b, syscall.LOCK_EX) }()
	time.Sleep(time.Millisecond)
	show("close releases", syscall.Close(a), <-waited)
	show("bad descriptor", try(a, syscall.LOCK_EX))

	record := func(fd int, kind int16, start, length int64) error {
		return syscall.FcntlFlock(uintptr(fd), syscall.F_SETLK, &syscall.Flock_t{Type: kind, Start: start, Len: length})
	}
	c := open()
	show("record", record(b, syscall.F_WRLCK, 0, 10), record(b, syscall.F_WRLCK, 20, 10))
	show("own again", record(c, syscall.F_WRLCK, 5, 20))
	query := syscall.Flock_t{Type: syscall.F_WRLCK, Len: 100}
	show("query", syscall.FcntlFlock(uintptr(c), syscall.F_GETLK, &query), query.Type == syscall.F_UNLCK)
	show("unlock", record(c, syscall.F_UNLCK, 0, 0))
	check(errors.Join(syscall.Close(b), syscall.Close(c)))
}

func mapping() {
	scratch()
	check(os.WriteFile("file", []byte(strings.Repeat("abcdefgh", 2048)), 0o644))
	f := must(os.OpenFile("file", os.O_RDWR, 0))
	fd := int(f.Fd())
	const rw = syscall.PROT_READ | syscall.PROT_WRITE

	shared := must(syscall.Mmap(fd, 0, 16384, rw, syscall.MAP_SHARED))
	show("shared", string(shared[:8]), len(shared))
	copy(shared, "mapped")
	show("seen by read", string(must(os.ReadFile("file"))[:8]))
	must(f.WriteAt([]byte("written"), 8))
	show("seen by mapping", string(shared[8:16]))
	second := must(syscall.Mmap(fd, 4096, 4096, syscall.PROT_READ, syscall.MAP_SHARED))
	shared[4096] = 'Z'
	show("seen by another", string(second[:4]))
	check(errors.Join(syscall.Munmap(shared), syscall.Munmap(second)))

	private := must(syscall.Mmap(fd, 0, 4096, rw, syscall.MAP_PRIVATE))
	private[0] = '#'
	show("private", string(private[:4]), string(must(os.ReadFile("file"))[:4]))
	check(syscall.Munmap(private))
	const unknown = 0x8 // PROT_SEM, which Linux ignores on this machine
	odd := must(syscall.Mmap(fd, 0, 4096, syscall.PROT_READ|unknown, syscall.MAP_PRIVATE))
	show("unknown protection", string(odd[8:16]))
	check(syscall.Munmap(odd))

	r := must(os.Open("file"))
	_, err := syscall.Mmap(int(r.Fd()), 0, 4096, rw, syscall.MAP_SHARED)
	show("writable, of a reader", err)
	_, err = syscall.Mmap(fd, 1, 4096, rw, syscall.MAP_SHARED)
	show("unaligned", err)
	_, err = syscall.Mmap(99, 0, 4096, rw, syscall.MAP_SHARED)
	show("bad descriptor", err)
	show("unmap twice", syscall.Munmap(private))

	check(f.Truncate(32768)) // as bbolt grows its file
	grown := must(syscall.Mmap(fd, 0, 32768, rw, syscall.MAP_SHARED))
	copy(grown[30000:], "grown")
	check(errors.Join(f.Close(), r.Close()))
	grown[0] = 'G' // the mapping outlives the descriptor
	check(syscall.Munmap(grown))
	data := must(os.ReadFile("file"))
	show("grown", len(data), string(data[30000:30005]), string(data[:1]))

	anon := must(syscall.Mmap(-1, 0, 8192, rw, syscall.MAP_ANON|syscall.MAP_SHARED))
	anon[8191] = 9
	show("anonymous", anon[0], anon[8191], syscall.Madvise(anon, syscall.MADV_WILLNEED))
	check(syscall.Munmap(anon))
}

func inotify() {
	scratch()
	fd := must(syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK))
	must(syscall.InotifyAddWatch(fd, ".", syscall.IN_CREATE|syscall.IN_MODIFY|syscall.IN_DELETE|
		syscall.IN_MOVED_FROM|syscall.IN_MOVED_TO|syscall.IN_ATTRIB|syscall.IN_CLOSE_WRITE))
	b := make([]byte, 4096)
	_, err := syscall.Read(fd, b)
	show("nothing yet", err)

	check(os.WriteFile("a", []byte("x"), 0o644))
	check(os.Chmod("a", 0o600))
	check(os.Rename("a", "b"))
	check(os.Mkdir("d", 0o755))
	check(os.Remove("b"))
	for n := must(syscall.Read(fd, b)); n > 0; {
		e := (*syscall.InotifyEvent)(unsafe.Pointer(&b[0]))
		size := syscall.SizeofInotifyEvent + int(e.Len)
		name := strings.TrimRight(string(b[syscall.SizeofInotifyEvent:size]), "\x00")
		show("event", fmt.Sprintf("%#x", e.Mask), name, e.Cookie != 0)
		b, n = b[size:], n-size
	}
	_, err = syscall.InotifyAddWatch(fd, "none", syscall.IN_CREATE)
	show("missing", err)
	_, err = syscall.InotifyRmWatch(fd, 77)
	show("bad watch", err)
	check(syscall.Close(fd))
}

// epoll: programs may bring a poller of their own.
func epoll() {
	ep := must(syscall.EpollCreate1(syscall.EPOLL_CLOEXEC))
	var p [2]int
	check(syscall.Pipe2(p[:], syscall.O_NONBLOCK))
	counter, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 1, syscall.O_NONBLOCK, 0)
	show("eventfd", errno == 0)
	add := func(fd int, events uint32) error {
		return syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
	}
	const edge = 1 << 31 // EPOLLET
	show("add", add(p[0], syscall.EPOLLIN), add(p[1], syscall.EPOLLOUT|edge), add(int(counter), syscall.EPOLLIN))
	show("twice", add(p[0], syscall.EPOLLIN))

	name := map[int32]string{int32(p[0]): "read end", int32(p[1]): "write end", int32(counter): "counter"}
	wait := func(what string, timeout int) {
		events := make([]syscall.EpollEvent, 8)
		n := must(syscall.EpollWait(ep, events, timeout))
		ready := map[string]uint32{}
		for _, e := range events[:n] {
			ready[name[e.Fd]] = e.Events
		}
		show(what, ready)
	}
	wait("at first", 0)
	wait("level again, edge not", 0)
	b := make([]byte, 8)
	show("counter", must(syscall.Read(int(counter), b)), binary.NativeEndian.Uint64(b))
	_, err := syscall.Read(int(counter), b)
	show("counter empty", err)
	wait("nothing", 1)
	go func() {
		time.Sleep(2 * time.Millisecond)
		must(syscall.Write(p[1], []byte("x")))
	}()
	wait("woken", 10_000)
	check(syscall.Close(p[1]))
	wait("hang-up", 0)
	show("remove", syscall.EpollCtl(ep, syscall.EPOLL_CTL_DEL, p[0], nil), syscall.EpollCtl(ep, syscall.EPOLL_CTL_DEL, p[0], nil))
	check(errors.Join(syscall.Close(p[0]), syscall.Close(int(counter)), syscall.Close(ep)))

	timer, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, 1 /* CLOCK_MONOTONIC */, 0, 0)
	show("timerfd", errno == 0)
	spec := [4]int64{0, 0, 0, int64(3 * time.Millisecond)} // interval, first expiry
	_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, timer, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	show("set", errno == 0)
	show("expired", must(syscall.Read(int(timer), b)), binary.NativeEndian.Uint64(b))
	check(syscall.Close(int(timer)))
}

// syscalls: calls by number, and how those that are not there fail.
func syscalls() {
	_, _, errno := syscall.Syscall(9999, 0, 0, 0)
	show("unknown", errno)
	_, _, errno = syscall.Syscall(syscall.SYS_READ, 77, 0, 0)
	show("bad descriptor", errno)
	var limit syscall.Rlimit
	show("limits", syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit), limit.Cur >= 256)
	var name syscall.Utsname
	show("uname", syscall.Uname(&name), name.Sysname[0] == 'L', name.Machine[0] == 'x')
	var use syscall.Rusage
	show("rusage", syscall.Getrusage(syscall.RUSAGE_SELF, &use), use.Maxrss > 0)
	var st syscall.Statfs_t
	show("statfs", syscall.Statfs("/", &st), st.Bsize > 0)
	var info syscall.Sysinfo_t
	show("sysinfo", syscall.Sysinfo(&info), info.Totalram > 0)
	fd := must(syscall.Dup(1))
	show("dup", syscall.Dup3(fd, 50, syscall.O_CLOEXEC), syscall.Close(fd), syscall.Close(50), syscall.Close(50))
	show("parent", os.Getpid() != os.Getppid())
	show("group", second(os.Getgroups()) == nil)
}
