//go:build !pith

package platform

import (
	"crypto/rand"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

func init() {
	config.PID, config.CPUs, config.Memory, config.Hostname = 1, 2, 256<<20, "hosted"
}

var start = time.Now()

// Nanotime returns the monotonic clock in nanoseconds.
func Nanotime() int64 { return int64(time.Since(start)) + 1 }

// Walltime returns the time since the Unix epoch.
func Walltime() (sec int64, nsec int32) {
	t := time.Now()
	return t.Unix(), int32(t.Nanosecond())
}

// CPUTime returns the CPU time that the instance has used, in nanoseconds.
func CPUTime() int64 {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
	return t.Nano()
}

// Sleep parks the calling goroutine for ns nanoseconds.
func Sleep(ns int64) { time.Sleep(time.Duration(ns)) }

// Timer is a function call in the future.
type Timer struct{ t *time.Timer }

// AfterFunc calls fn in a goroutine of its own after ns nanoseconds.
func AfterFunc(ns int64, fn func()) *Timer {
	return &Timer{time.AfterFunc(time.Duration(ns), fn)}
}

// Stop prevents the call. It reports false if the call was made or stopped before.
func (t *Timer) Stop() bool { return t.t.Stop() }

// Map maps anonymous private memory, as mmap(2) does with
// MAP_ANONYMOUS|MAP_PRIVATE and flags.
func Map(addr, length uintptr, prot, flags int) (uintptr, linux.Errno) {
	p, err := unix.MmapPtr(-1, 0, Pointer(addr), length, prot, flags|unix.MAP_ANON|unix.MAP_PRIVATE)
	return uintptr(p), errnoOf(err)
}

// Unmap is munmap(2).
func Unmap(addr, length uintptr) linux.Errno {
	return errnoOf(unix.MunmapPtr(Pointer(addr), length))
}

// Protect is mprotect(2).
func Protect(addr, length uintptr, prot int) linux.Errno {
	_, _, e := unix.Syscall(unix.SYS_MPROTECT, addr, length, uintptr(prot))
	return linux.Errno(e)
}

// Advise is madvise(2).
func Advise(addr, length uintptr, advice int) linux.Errno {
	_, _, e := unix.Syscall(unix.SYS_MADVISE, addr, length, uintptr(advice))
	return linux.Errno(e)
}

// ConsoleRead reads standard input.
func ConsoleRead(p []byte) (int, linux.Errno) {
	n, err := unix.Read(0, p)
	return max(n, 0), errnoOf(err)
}

// ConsoleWrite writes to standard output (1) or standard error (2).
func ConsoleWrite(fd int, p []byte) (int, linux.Errno) {
	n, err := unix.Write(fd, p)
	return max(n, 0), errnoOf(err)
}

// Segments returns one made-up segment.
func Segments() []Segment {
	return []Segment{{Start: 0x400000, End: 0x401000, Prot: unix.PROT_READ | unix.PROT_EXEC}}
}

// Random fills p with random bytes of the host.
func Random(p []byte) {
	if entropy != nil {
		entropy(p)
		return
	}
	rand.Read(p)
}

// Exit ends the process with exit code code.
func Exit(code int) { os.Exit(code) }

// Raise sends signal sig to the program itself, as kill(getpid(), sig).
func Raise(sig int) linux.Errno { return errnoOf(unix.Kill(os.Getpid(), unix.Signal(sig))) }

// ThreadID returns the id of the calling thread, as gettid(2) does. The program's
// first thread is 1.
func ThreadID() int {
	if tid := unix.Gettid(); tid != os.Getpid() {
		return tid
	}
	return 1
}

// RaiseThread sends signal sig to a thread of the program. Signal 0 only asks
// whether the thread exists.
func RaiseThread(tid, sig int) linux.Errno {
	if tid == 1 {
		tid = os.Getpid()
	}
	return errnoOf(unix.Tgkill(os.Getpid(), tid, unix.Signal(sig)))
}

// AtExit has fn called when the program calls os.Exit or returns from main, not
// after a crash.
func AtExit(fn func()) {}

// PollReady marks the runtime's pollDesc pd as ready.
func PollReady(pd uintptr, m Mode) { HostedPollReady(pd, m) }

// HostedPollReady takes the place of the runtime's poller. Tests set it.
var HostedPollReady = func(pd uintptr, m Mode) {}

// SetPoller sets what the runtime's poller calls to register and to close a
// descriptor. Both functions run on ordinary goroutines.
func SetPoller(open func(fd int, pd uintptr) linux.Errno, close func(fd int) linux.Errno) {
}

// Host is a descriptor of the host: packets, a listening socket, a connection, or the
// channel to the monitor. Reads and writes do not block.
type Host struct{ fd int }

// OpenHost prepares fd for reading, writing and waiting.
func OpenHost(fd int) (*Host, linux.Errno) { return &Host{fd}, 0 }

// Read reads without blocking.
func (h *Host) Read(p []byte) (int, linux.Errno) {
	n, err := unix.Read(h.fd, p)
	return max(n, 0), errnoOf(err)
}

// Write writes without blocking.
func (h *Host) Write(p []byte) (int, linux.Errno) {
	n, err := unix.Write(h.fd, p)
	return max(n, 0), errnoOf(err)
}

// MaxBuffers is how many buffers one call of Writev takes.
const MaxBuffers = 64

// Writev writes the first MaxBuffers of p, without blocking.
func (h *Host) Writev(p [][]byte) (int, linux.Errno) {
	n, err := unix.Writev(h.fd, p[:min(len(p), MaxBuffers)])
	return max(n, 0), errnoOf(err)
}

// Recv is recv(2) on a connected socket, without blocking.
func (h *Host) Recv(p []byte, flags int) (int, linux.Errno) {
	n, _, err := unix.Recvfrom(h.fd, p, flags|unix.MSG_DONTWAIT)
	return max(n, 0), errnoOf(err)
}

// Send is send(2) on a connected socket, without blocking and without SIGPIPE.
func (h *Host) Send(p []byte, flags int) (int, linux.Errno) {
	n, err := unix.SendmsgN(h.fd, p, nil, nil, flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return max(n, 0), errnoOf(err)
}

// SendMessage is sendmsg(2) with the first MaxBuffers of data, without blocking and
// without SIGPIPE. addr and control may be nil.
func (h *Host) SendMessage(data [][]byte, addr, control []byte, flags int) (int, linux.Errno) {
	msg, keep := messageHeader(data, addr, control)
	n, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(h.fd), uintptr(unsafe.Pointer(msg)), uintptr(flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
	runtime.KeepAlive(keep)
	if e != 0 {
		return 0, linux.Errno(e)
	}
	return int(n), 0
}

// RecvMessage is recvmsg(2) into the first MaxBuffers of data, without blocking.
func (h *Host) RecvMessage(data [][]byte, addr, control []byte, flags int) (r Received, errno linux.Errno) {
	msg, keep := messageHeader(data, addr, control)
	n, _, e := unix.Syscall(unix.SYS_RECVMSG, uintptr(h.fd), uintptr(unsafe.Pointer(msg)), uintptr(flags|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC))
	runtime.KeepAlive(keep)
	if e != 0 {
		return r, linux.Errno(e)
	}
	return Received{
		N: int(n), Addr: min(int(msg.Namelen), len(addr)), Control: min(int(msg.Controllen), len(control)), Flags: int(msg.Flags),
	}, 0
}

// messageHeader returns a struct msghdr that refers to its arguments, which the caller
// keeps alive by the second result.
func messageHeader(data [][]byte, addr, control []byte) (*unix.Msghdr, []any) {
	vec := make([]unix.Iovec, min(len(data), MaxBuffers))
	for i := range vec {
		vec[i].Base = unsafe.SliceData(data[i])
		vec[i].SetLen(len(data[i]))
	}
	msg := &unix.Msghdr{Name: unsafe.SliceData(addr), Namelen: uint32(len(addr)), Iov: unsafe.SliceData(vec), Control: unsafe.SliceData(control)}
	msg.SetIovlen(len(vec))
	msg.SetControllen(len(control))
	return msg, []any{vec, data, addr, control}
}

// SendTo is sendto(2), without blocking and without SIGPIPE.
func (h *Host) SendTo(p, addr []byte, flags int) (int, linux.Errno) {
	return h.SendMessage([][]byte{p}, addr, nil, flags)
}

// Receive reads a message that may carry one descriptor. A thread waits for it.
func (h *Host) Receive(p []byte) (n int, passed *Host, errno linux.Errno) {
	control := make([]byte, unix.CmsgSpace(4))
	n, size, flags, _, err := unix.Recvmsg(h.fd, p, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, nil, errnoOf(err)
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return n, nil, linux.EMFILE
	}
	list, err := unix.ParseSocketControlMessage(control[:size])
	if err != nil || len(list) != 1 {
		return n, nil, 0
	}
	fds, err := unix.ParseUnixRights(&list[0])
	if err != nil || len(fds) != 1 {
		return n, nil, 0
	}
	return n, &Host{fds[0]}, 0
}

// Accept is accept4(2) on a listening socket. It stores the peer's socket address
// in addr and returns its length.
func (h *Host) Accept(addr []byte) (conn *Host, n int, errno linux.Errno) {
	size := uint32(len(addr))
	fd, _, e := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(h.fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if e != 0 {
		return nil, 0, linux.Errno(e)
	}
	return &Host{int(fd)}, min(int(size), len(addr)), 0
}

// Name is getsockname(2) or getpeername(2). It stores the address in addr and returns
// its length.
func (h *Host) Name(peer bool, addr []byte) (int, linux.Errno) {
	call := uintptr(unix.SYS_GETSOCKNAME)
	if peer {
		call = unix.SYS_GETPEERNAME
	}
	size := uint32(len(addr))
	_, _, e := unix.Syscall(call, uintptr(h.fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(unsafe.Pointer(&size)))
	return min(int(size), len(addr)), linux.Errno(e)
}

// SetOption is setsockopt(2).
func (h *Host) SetOption(level, name int, val []byte) linux.Errno {
	return errnoOf(unix.SetsockoptString(h.fd, level, name, string(val)))
}

// Option is getsockopt(2).
func (h *Host) Option(level, name int, val []byte) (int, linux.Errno) {
	size := uint32(len(val))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(h.fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(unsafe.Pointer(&size)), 0)
	return min(int(size), len(val)), linux.Errno(e)
}

// Shutdown is shutdown(2) of a connection.
func (h *Host) Shutdown(how int) linux.Errno { return errnoOf(unix.Shutdown(h.fd, how)) }

// Close closes the descriptor and wakes the goroutines in Wait.
func (h *Host) Close() { unix.Close(h.fd) }

// CloseLingering is Close for a socket whose SO_LINGER makes close(2) wait.
func (h *Host) CloseLingering() { h.Close() }

// Attach is not supported: tests have no pollDesc.
func (h *Host) Attach(pd uintptr) linux.Errno { return linux.ENOSYS }

// Detach undoes Attach.
func (h *Host) Detach(pd uintptr) {}

// Wait parks the calling goroutine until the descriptor becomes ready in direction
// m, or is closed (EBADF). One goroutine waits for each direction. Try the operation
// first: only what happens after that is sure to wake.
func (h *Host) Wait(m Mode) linux.Errno {
	ev := int16(unix.POLLIN)
	if m == Writable {
		ev = unix.POLLOUT
	}
	for {
		// The runtime preempts with signals, which end a poll early.
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: ev}}, -1); err != unix.EINTR {
			return errnoOf(err)
		}
	}
}

// Control sends one control message to the monitor.
func Control(msg string) linux.Errno {
	if controlDriver != nil {
		return controlDriver(msg)
	}
	return 0
}

func errnoOf(err error) linux.Errno {
	if err == nil {
		return 0
	}
	return linux.Errno(err.(unix.Errno))
}

// park and unpark are a semaphore with a maximum of 1.
func park(sema *uint32) {
	hostedMu.Lock()
	for *sema == 0 {
		hostedCond.Wait()
	}
	*sema = 0
	hostedMu.Unlock()
}

func unpark(sema *uint32) {
	hostedMu.Lock()
	*sema = 1
	hostedMu.Unlock()
	hostedCond.Broadcast()
}

var (
	hostedMu   sync.Mutex
	hostedCond = sync.NewCond(&hostedMu)
)
