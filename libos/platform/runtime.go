//go:build pith

package platform

import (
	"internal/runtime/exithook"
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
)

// Functions of the runtime: first Go's own, then those that the derived distribution
// adds (runtime/pith_*.go).

//go:linkname nanotime runtime.nanotime
func nanotime() int64

//go:linkname timeNow time.now
func timeNow() (sec int64, nsec int32, mono int64)

//go:linkname timeSleep time.Sleep
func timeSleep(ns int64)

//go:linkname newTimer time.newTimer
func newTimer(when, period int64, f func(arg any, seq uintptr, delta int64), arg any, c unsafe.Pointer) unsafe.Pointer

//go:linkname stopTimer time.stopTimer
func stopTimer(t unsafe.Pointer) bool

//go:linkname getAuxv runtime.getAuxv
func getAuxv() []uintptr

func bootLine() string
func setRandom(fill func(p []byte))
func exit(code int32)
func pollReady(pd uintptr, mode int32)
func setPoller(open func(fd int, pd uintptr) uintptr, close func(fd int) uintptr)
func hostPollOpen(fd int) (pd unsafe.Pointer, errno int)
func hostPollUnblock(pd unsafe.Pointer)
func hostPollClose(pd unsafe.Pointer)
func hostPollSend(fd int, pd unsafe.Pointer) uintptr
func hostPollWait(pd unsafe.Pointer, mode int) int

// park and unpark wait for and signal a semaphore of the runtime.
//
//go:noescape
func park(sema *uint32)

//go:noescape
func unpark(sema *uint32)

//go:noescape
func hostCall(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr

//go:noescape
func hostCallBlocking(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr

func init() {
	c, err := boot.Parse(bootLine())
	if err != nil {
		msg := "pith: " + err.Error() + "\n"
		ConsoleWrite(2, []byte(msg))
		exit(boot.ExitFailure)
	}
	fillIn(&c)
	config = c
	setRandom(onStack)
}

// result splits the result of hostCall into value and error.
func result(r uintptr) (uintptr, linux.Errno) {
	if r > ^uintptr(4095) {
		return 0, linux.Errno(-r)
	}
	return r, 0
}

func errnoOf(r uintptr) linux.Errno {
	_, errno := result(r)
	return errno
}

// Nanotime returns the monotonic clock in nanoseconds.
func Nanotime() int64 { return nanotime() }

// Walltime returns the time since the Unix epoch.
func Walltime() (sec int64, nsec int32) {
	sec, nsec, _ = timeNow()
	return sec, nsec
}

// CPUTime returns the CPU time that the instance has used, in nanoseconds.
func CPUTime() int64 {
	const processCPUTime = 2 // CLOCK_PROCESS_CPUTIME_ID
	var t linux.Timespec
	hostCall(linux.SYS_CLOCK_GETTIME, processCPUTime, uintptr(unsafe.Pointer(&t)), 0, 0, 0, 0)
	return t.Nano()
}

// Sleep parks the calling goroutine for ns nanoseconds.
func Sleep(ns int64) { timeSleep(ns) }

// Timer is a function call in the future.
type Timer struct{ t unsafe.Pointer }

// AfterFunc calls fn in a goroutine of its own after ns nanoseconds.
func AfterFunc(ns int64, fn func()) *Timer {
	when := nanotime() + max(ns, 0)
	if when < 0 {
		when = 1<<63 - 1
	}
	return &Timer{newTimer(when, 0, startFunc, fn, nil)}
}

func startFunc(arg any, _ uintptr, _ int64) { go arg.(func())() }

// Stop prevents the call. It reports false if the call was made or stopped before.
func (t *Timer) Stop() bool { return stopTimer(t.t) }

const (
	protReadWrite = 3
	protExec      = 4
)

// Map maps anonymous private memory, as mmap(2) does with
// MAP_ANONYMOUS|MAP_PRIVATE and flags. prot is PROT_*; PROT_EXEC is refused with
// EACCES. Bits that mmap ignores do not reach the host: its filter refuses them.
func Map(addr, length uintptr, prot, flags int) (uintptr, linux.Errno) {
	if prot&protExec != 0 {
		return 0, linux.EACCES
	}
	const private, anonymous = 0x2, 0x20
	return result(hostCall(linux.SYS_MMAP, addr, length, uintptr(prot&protReadWrite), uintptr(flags|private|anonymous), ^uintptr(0), 0))
}

// Unmap is munmap(2).
func Unmap(addr, length uintptr) linux.Errno {
	return errnoOf(hostCall(linux.SYS_MUNMAP, addr, length, 0, 0, 0, 0))
}

// Protect is mprotect(2); prot is as for Map.
func Protect(addr, length uintptr, prot int) linux.Errno {
	if prot&protExec != 0 {
		return linux.EACCES
	}
	return errnoOf(hostCall(linux.SYS_MPROTECT, addr, length, uintptr(prot&protReadWrite), 0, 0, 0))
}

// Advise is madvise(2). Only advice that the host's filter permits reaches the host.
// Hints about forks, core dumps and memory that is equal, cold or soon unused change
// nothing here.
func Advise(addr, length uintptr, advice int) linux.Errno {
	const (
		free, hugePage, noHugePage, collapse = 8, 14, 15, 25
		dontFork, unmergeable                = 10, 13
		dontDump, pageOut                    = 16, 21
	)
	switch {
	case linux.MADV_NORMAL <= advice && advice <= linux.MADV_DONTNEED,
		advice == free, advice == hugePage, advice == noHugePage, advice == collapse:
		return errnoOf(hostCall(linux.SYS_MADVISE, addr, length, uintptr(advice), 0, 0, 0))
	case dontFork <= advice && advice <= unmergeable, dontDump <= advice && advice <= pageOut:
		return 0
	}
	return linux.EINVAL
}

// ConsoleRead reads standard input. It parks the goroutine until there is input.
// Other processes share the descriptor, so it stays in blocking mode: a thread waits,
// as for os.Stdin on Linux.
func ConsoleRead(p []byte) (int, linux.Errno) {
	if consoleRead != nil {
		return consoleRead(p)
	}
	return rw(linux.SYS_READ, boot.FDStdin, p, hostCallBlocking)
}

// ConsoleWrite writes to standard output (1) or standard error (2).
func ConsoleWrite(fd int, p []byte) (int, linux.Errno) {
	if consoleWrite != nil {
		return consoleWrite(fd, p)
	}
	return rw(linux.SYS_WRITE, fd, p, hostCallBlocking)
}

func rw(num uintptr, fd int, p []byte, call func(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr) (int, linux.Errno) {
	n, errno := result(call(num, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0))
	return int(n), errno
}

// programHeader is Elf64_Phdr.
type programHeader struct {
	typ, flags                                    uint32
	off, vaddr, paddr, filesize, memsize, aligned uint64
}

// Segments returns the loaded segments of the image, in order of address. It reads
// the program headers, which the auxiliary vector leads to (getauxval(3)).
func Segments() []Segment {
	const (
		atPhdr, atPhnum = 3, 5
		ptLoad          = 1
	)
	var addr, num uintptr
	for aux := getAuxv(); len(aux) >= 2; aux = aux[2:] {
		switch aux[0] {
		case atPhdr:
			addr = aux[1]
		case atPhnum:
			num = aux[1]
		}
	}
	if addr == 0 {
		return nil
	}
	var segments []Segment
	for _, h := range unsafe.Slice((*programHeader)(Pointer(addr)), num) {
		if h.typ != ptLoad {
			continue
		}
		// The order of PF_X, PF_W and PF_R is the reverse of PROT_*.
		prot := h.flags&1<<2 | h.flags&2 | h.flags&4>>2
		start := uintptr(h.vaddr) &^ (PageSize - 1)
		end := (uintptr(h.vaddr+h.memsize) + PageSize - 1) &^ (PageSize - 1)
		segments = append(segments, Segment{start, end, int64(h.off) &^ (PageSize - 1), int(prot)})
	}
	return segments
}

// Random fills p with random bytes of the host, or of a virtual machine's own
// generator.
func Random(p []byte) {
	if entropy != nil {
		entropy(p)
		return
	}
	for len(p) > 0 {
		n, errno := rw(linux.SYS_READ, boot.FDRandom, p[:min(len(p), 1<<20)], hostCall)
		if errno != 0 || n == 0 {
			panic("pith: the host gives no entropy: " + errno.Name())
		}
		p = p[n:]
	}
}

// onStack fills p, which may lie on a goroutine's stack. Stacks move, so the host
// writes to a buffer of this package.
func onStack(p []byte) {
	if entropy != nil {
		entropy(p)
		return
	}
	staged.Lock()
	defer staged.Unlock()
	for len(p) > 0 {
		b := staged.buf[:min(len(p), len(staged.buf))]
		Random(b)
		p = p[copy(p, b):]
		clear(b)
	}
}

var staged struct {
	sync.Mutex
	buf [256]byte
}

// Exit ends the instance with exit code code.
func Exit(code int) { exit(int32(code)) }

// Raise sends signal sig to the program itself, as kill(getpid(), sig).
func Raise(sig int) linux.Errno {
	return errnoOf(hostCall(linux.SYS_KILL, 0, uintptr(sig), 0, 0, 0, 0))
}

// ThreadID returns the id of the calling thread, as gettid(2) does. The program's
// first thread is 1.
func ThreadID() int {
	tid := hostCall(linux.SYS_GETTID, 0, 0, 0, 0, 0, 0)
	if tid == hostCall(linux.SYS_GETPID, 0, 0, 0, 0, 0, 0) {
		return 1
	}
	return int(tid)
}

// RaiseThread sends signal sig to a thread of the program. Signal 0 only asks
// whether the thread exists.
func RaiseThread(tid, sig int) linux.Errno {
	first := hostCall(linux.SYS_GETPID, 0, 0, 0, 0, 0, 0)
	to := uintptr(tid)
	if tid == 1 {
		to = first
	}
	return errnoOf(hostCall(linux.SYS_TGKILL, first, to, uintptr(sig), 0, 0, 0))
}

// AtExit has fn called when the program calls os.Exit or returns from main, not
// after a crash.
func AtExit(fn func()) { exithook.Add(exithook.Hook{F: fn, RunOnFailure: true}) }

// PollReady marks the runtime's pollDesc pd as ready.
func PollReady(pd uintptr, m Mode) {
	var mode int32
	if m&Readable != 0 {
		mode += 'r'
	}
	if m&Writable != 0 {
		mode += 'w'
	}
	if mode != 0 {
		pollReady(pd, mode)
	}
}

// SetPoller sets what the runtime's poller calls to register and to close a
// descriptor. Both functions run on ordinary goroutines.
func SetPoller(open func(fd int, pd uintptr) linux.Errno, close func(fd int) linux.Errno) {
	setPoller(
		func(fd int, pd uintptr) uintptr { return uintptr(open(fd, pd)) },
		func(fd int) uintptr { return uintptr(close(fd)) },
	)
}

// Control sends one control message to the monitor.
func Control(msg string) linux.Errno {
	if controlDriver != nil {
		return controlDriver(msg)
	}
	_, errno := rw(linux.SYS_WRITE, boot.FDControl, unsafe.Slice(unsafe.StringData(msg), len(msg)), hostCall)
	return errno
}
