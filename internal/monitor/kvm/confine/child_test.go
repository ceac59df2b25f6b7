package confine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"

	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/kvm"

	"golang.org/x/sys/unix"
)

// childName is argument 0 of a process that confines itself. Its argument 1 selects what it
// does then.
const childName = "confine-test"

// child is the confined process. Pipes take the place of vCPUs and disks. A pipe refuses their
// requests with an error, so a test can tell a permitted request from a forbidden one. The
// filter kills only for a forbidden one.
type child struct {
	*Process
	cpus   [2]int
	pipe   [2]*os.File // in the runtime's poller
	doors  [2]net.Conn // likewise
	door   int         // descriptor of doors[0], a socket of the parent
	event  *event.Event
	memory []byte
}

// Descriptors that the child starts with, in addition to the standard ones.
const (
	diskFD = 3 + iota
	readOnlyFD
	listenerFD
)

func newChild(withDevices bool) (*child, error) {
	c := &child{}
	for i := range c.cpus {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return nil, err
		}
		c.cpus[i] = ends[0]
	}
	var err error
	if c.pipe[0], c.pipe[1], err = os.Pipe(); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	sockets := []int{pair[0], pair[1]}
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "door")
		if c.doors[i], err = net.FileConn(f); err != nil {
			return nil, err
		}
		raw, err := c.doors[i].(*net.UnixConn).SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := raw.Control(func(fd uintptr) { sockets, c.door = append(sockets, int(fd)), int(fd) }); err != nil {
			return nil, err
		}
	}
	if c.event, err = event.New(); err != nil {
		return nil, err
	}
	if c.memory, err = unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS); err != nil {
		return nil, err
	}
	d := None(c.cpus[1], c.cpus[:])
	d.Inputs, d.Outputs = []int{0, int(fdOf(c.pipe[0]))}, []int{1, 2, int(fdOf(c.pipe[1]))}
	d.Sockets = sockets
	if withDevices {
		d.Disks, d.ReadOnlyDisks, d.Listener = []int{diskFD}, []int{readOnlyFD}, listenerFD
	}
	if c.Process, err = Confine(d); err != nil {
		return nil, err
	}
	return c, nil
}

// fdOf returns the descriptor of a file, which stays in the poller.
func fdOf(f *os.File) (n uintptr) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = fd })
	}
	return n
}

// childMain does what selects. It returns the exit code, which is 3 if a forbidden system call
// did not kill the process.
func childMain(what string) int {
	onDevices, devices := forbiddenOnDevices[what]
	c, err := newChild(devices || what == "devices")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	switch what {
	case "wait":
		ready := make(chan error)
		go func() {
			ready <- c.VCPU(c.cpus[0])
			select {}
		}()
		fmt.Println(<-ready)
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	case "devices":
		if err := c.useDevices(); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	case "work":
		if err := c.work(); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
	f, ok := forbidden[what]
	if devices {
		f, ok = onDevices, true
	}
	if ok {
		fmt.Println("not killed:", f(c))
		return 3
	}
	return c.onCPU(forbiddenOnCPU[what])
}

// onCPU makes a forbidden call on a vCPU's thread.
func (c *child) onCPU(f func(c *child) error) int {
	done := make(chan int)
	go func() {
		if err := c.VCPU(c.cpus[0]); err != nil {
			fmt.Println(err)
			done <- 1
			return
		}
		fmt.Println("not killed:", f(c))
		done <- 3
	}()
	return <-done
}

// work exercises all parts of the Go runtime for a second.
func (c *child) work() error {
	var all sync.WaitGroup
	failed := make(chan error, 100)
	fail := func(err error) {
		if err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}
	end := time.Now().Add(time.Second)
	until := func(f func() error) {
		all.Go(func() {
			for time.Now().Before(end) {
				if err := f(); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	until(func() error { runtime.GC(); return nil })
	until(func() error { debug.FreeOSMemory(); time.Sleep(20 * time.Millisecond); return nil })
	for range 4 {
		until(allocate)
		until(func() error { time.Sleep(time.Millisecond); return nil })
		until(fault)
	}
	until(func() error { _, err := rand.Read(make([]byte, 100)); return err })
	until(newThreads)
	until(func() error { // discards guest memory
		c.memory[len(c.memory)/2] = 1
		return unix.Madvise(c.memory, unix.MADV_REMOVE)
	})
	spin := true // the loop makes no call, so only a signal can preempt it
	all.Go(func() {
		for n := 0; spin; n++ {
			if n&0xfffffff == 0 && time.Now().After(end) {
				spin = false
			}
		}
	})
	c.talk(until)
	for _, fd := range c.cpus {
		all.Go(func() { fail(c.likeCPU(fd, end)) })
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// talk uses the poller.
func (c *child) talk(until func(func() error)) {
	b := make([]byte, 10)
	until(func() error {
		if _, err := c.pipe[1].WriteString("0123456789"); err != nil {
			return err
		}
		_, err := io.ReadFull(c.pipe[0], b)
		return err
	})
	got := make([]byte, 10)
	until(func() error {
		u := c.doors[0].(*net.UnixConn)
		if _, _, err := u.WriteMsgUnix([]byte("0123456789"), nil, nil); err != nil {
			return err
		}
		_, err := io.ReadFull(c.doors[1], got)
		return err
	})
	until(func() error {
		if err := c.doors[0].SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return err
		}
		if _, err := c.doors[0].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("read before a write: %w", err)
		}
		return nil
	})
	until(func() error {
		c.event.Signal()
		if !c.event.Wait() {
			return errors.New("the event is closed")
		}
		return nil
	})
}

// useDevices uses disks and a connection.
func (c *child) useDevices() error {
	b := [][]byte{[]byte("0123456789")}
	_, err := unix.Pwritev(diskFD, b, 4096)
	got := [][]byte{make([]byte, 10)}
	if err == nil {
		_, err = unix.Preadv(readOnlyFD, got, 4096)
	}
	if err == nil && string(got[0]) != string(b[0]) {
		err = fmt.Errorf("the disk has %q", got[0])
	}
	if err = errors.Join(err, unix.Fdatasync(diskFD)); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	// Not every file system supports these modes.
	for _, mode := range []uint32{punchHole, zeroRange} {
		if err := unix.Fallocate(diskFD, mode, 0, 8192); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("fallocate: %w", err)
		}
	}
	fd, _, err := unix.Accept4(listenerFD, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("accept4: %w", err)
	}
	if _, err := unix.Writev(fd, b); err != nil {
		return fmt.Errorf("connection: %w", err)
	}
	if _, err := unix.Readv(fd, got); !errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("connection: %w", err)
	}
	return errors.Join(unix.Shutdown(fd, unix.SHUT_WR), unix.Close(fd))
}

// likeCPU does on a vCPU's thread what exits do. It uses more of the runtime than exits should.
func (c *child) likeCPU(fd int, end time.Time) error {
	if err := c.VCPU(fd); err != nil {
		return err
	}
	answers := make(chan int)
	for n := 0; time.Now().Before(end); n++ {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), kvm.Run, 0)
		if errno != unix.ENOTTY {
			return fmt.Errorf("KVM_RUN of a pipe: %w", errno)
		}
		c.event.Signal()
		if err := errors.Join(allocate(), fault()); err != nil {
			return err
		}
		go func() { answers <- n }()
		<-answers
		runtime.Gosched()
		if n%10 == 0 {
			runtime.GC()
			debug.FreeOSMemory()
			time.Sleep(time.Millisecond)
			var held sync.WaitGroup
			for range 20 { // each needs a thread, which another thread starts
				held.Go(func() {
					runtime.LockOSThread()
					time.Sleep(time.Millisecond)
				})
			}
			held.Wait()
		}
	}
	return nil
}

var sink [][]byte

func allocate() error {
	var kept [][]byte
	for i := range 200 {
		kept = append(kept, make([]byte, 1<<(i%16)))
	}
	sink = kept
	return nil
}

// fault handles SIGSEGV.
func fault() (err error) {
	defer func() {
		if recover() == nil {
			err = errors.New("no fault")
		}
	}()
	var p *int
	*p = 1
	return nil
}

// newThreads starts threads, which end.
func newThreads() error {
	var held sync.WaitGroup
	for range 10 {
		held.Go(func() {
			runtime.LockOSThread()
			time.Sleep(time.Millisecond)
		})
	}
	held.Wait()
	return nil
}

// call makes a system call that no table permits with these arguments.
func call(number uintptr, args ...uintptr) func(*child) error {
	var a [6]uintptr
	copy(a[:], args)
	return func(*child) error {
		_, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		return errno
	}
}

var path = []byte("/\x00")

func pathPointer() uintptr { return uintptr(unsafe.Pointer(&path[0])) }

const anonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS

// forbidden has calls that kill the process on any thread.
var forbidden = map[string]func(*child) error{
	"openat":              call(unix.SYS_OPENAT, 0, pathPointer()),
	"openat2":             call(unix.SYS_OPENAT2, 0, pathPointer()),
	"stat":                call(unix.SYS_NEWFSTATAT, 0, pathPointer()),
	"mount":               call(unix.SYS_MOUNT, pathPointer(), pathPointer()),
	"socket":              call(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM),
	"socketpair":          call(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM),
	"connect":             call(unix.SYS_CONNECT, 0),
	"bind":                call(unix.SYS_BIND, 0),
	"accept4":             call(unix.SYS_ACCEPT4, 0), // there is no vsock device
	"execve":              call(unix.SYS_EXECVE, pathPointer()),
	"execveat":            call(unix.SYS_EXECVEAT, 0, pathPointer()),
	"ptrace":              call(unix.SYS_PTRACE, unix.PTRACE_TRACEME),
	"process_vm_readv":    call(unix.SYS_PROCESS_VM_READV, 1),
	"mmap executable":     call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, anonymous, ^uintptr(0)),
	"mmap a file":         call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, 0),
	"mmap shared":         call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0)),
	"mprotect executable": call(unix.SYS_MPROTECT, 0, 4096, unix.PROT_READ|unix.PROT_EXEC),
	"madvise otherwise":   call(unix.SYS_MADVISE, 0, 4096, unix.MADV_DONTFORK),
	"kill":                call(unix.SYS_KILL, 2, 0),
	"tgkill another":      call(unix.SYS_TGKILL, 1<<20, 1<<20, 0),
	"pidfd_open":          call(unix.SYS_PIDFD_OPEN, 1),
	"clone a process":     call(unix.SYS_CLONE, uintptr(unix.SIGCHLD)),
	"clone a namespace":   call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)),
	"unshare":             call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	"prctl":               call(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE),
	"setuid":              call(unix.SYS_SETUID, 0),
	"capset":              call(unix.SYS_CAPSET),
	"prlimit":             call(unix.SYS_PRLIMIT64),
	"dup":                 call(unix.SYS_DUP, 0),
	"fcntl":               call(unix.SYS_FCNTL, 0, unix.F_GETFL),
	"memfd_create":        call(unix.SYS_MEMFD_CREATE, pathPointer()),
	"eventfd":             call(unix.SYS_EVENTFD2),
	"io_uring_setup":      call(unix.SYS_IO_URING_SETUP, 1),
	"bpf":                 call(unix.SYS_BPF),
	"setitimer":           call(unix.SYS_SETITIMER),
	"ioctl":               call(unix.SYS_IOCTL, 1, unix.TCGETS),
	"ioctl of a terminal": call(unix.SYS_IOCTL, 0, unix.TIOCSTI),
	"KVM_RUN elsewhere":   call(unix.SYS_IOCTL, 0, kvm.Run),
	"KVM_CREATE_VM":       func(c *child) error { return call(unix.SYS_IOCTL, uintptr(c.VM), 0xae01)(c) },
	"vhost without one":   call(unix.SYS_IOCTL, 0, vhostSetVringAddr),
	"preadv":              call(unix.SYS_PREADV, 0), // there are no disks
	"pwritev":             call(unix.SYS_PWRITEV, 1),
	"fdatasync":           call(unix.SYS_FDATASYNC, 1),
	"fallocate":           call(unix.SYS_FALLOCATE, 1, punchHole),
	"read elsewhere":      call(unix.SYS_READ, 1),
	"write elsewhere":     call(unix.SYS_WRITE, 0),
	"sendmsg elsewhere":   call(unix.SYS_SENDMSG, 1),
	"epoll_ctl elsewhere": call(unix.SYS_EPOLL_CTL, 1),
	"epoll_pwait mask":    func(c *child) error { return call(unix.SYS_EPOLL_PWAIT, uintptr(c.pollers[0]), 0, 0, 0, 1)(c) },
	"seccomp for all":     call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC),
	"seccomp listener":    call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER),
	"a 32-bit number":     call(0x40000000 | unix.SYS_READ),
}

// forbiddenOnDevices has calls that kill a process with disks and a vsock device.
var forbiddenOnDevices = map[string]func(*child) error{
	"write to a read-only disk":   call(unix.SYS_PWRITEV, readOnlyFD),
	"discard of a read-only disk": call(unix.SYS_FALLOCATE, readOnlyFD, punchHole),
	"fallocate of new room":       call(unix.SYS_FALLOCATE, diskFD, 0),
	"read of a disk":              call(unix.SYS_READ, diskFD),
	"ioctl of a disk":             call(unix.SYS_IOCTL, diskFD, 0x1277), // BLKDISCARD
	"accept4 that blocks":         call(unix.SYS_ACCEPT4, listenerFD, 0, 0, 0),
	"accept4 elsewhere":           call(unix.SYS_ACCEPT4, diskFD, 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC),
	"listen":                      call(unix.SYS_LISTEN, listenerFD),
}

// forbiddenOnCPU has calls that kill on a vCPU's thread, but not on other threads.
var forbiddenOnCPU = map[string]func(*child) error{
	"another CPU":     func(c *child) error { return call(unix.SYS_IOCTL, uintptr(c.cpus[1]), kvm.Run)(c) },
	"KVM_IRQFD":       func(c *child) error { return call(unix.SYS_IOCTL, uintptr(c.VM), kvm.AssignIRQFD)(c) },
	"read":            call(unix.SYS_READ, 0),
	"write to parent": func(c *child) error { return call(unix.SYS_WRITE, uintptr(c.door))(c) },
	"sendmsg":         func(c *child) error { return call(unix.SYS_SENDMSG, uintptr(c.door))(c) },
	"recvmsg":         func(c *child) error { return call(unix.SYS_RECVMSG, uintptr(c.door))(c) },
	"close":           call(unix.SYS_CLOSE, 1000),
	"ppoll":           call(unix.SYS_PPOLL),
	"epoll_ctl":       func(c *child) error { return call(unix.SYS_EPOLL_CTL, uintptr(c.pollers[0]))(c) },
	"getrandom":       call(unix.SYS_GETRANDOM),
	"clone":           call(unix.SYS_CLONE, 0x50f00),
	"mprotect":        call(unix.SYS_MPROTECT, 0, 0, 0),
	"seccomp":         call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER),
}
