// Package platform is the contract between the library OS and the layer below
// it. Below are the Go runtime and, through the runtime's gate, one of two
// platforms: a confined Linux process, or a virtual machine with its thread layer
// and nucleus. Everything above this package is ordinary Go, and uses nothing of
// its host but this package.
//
// The files for the derived Go distribution have the build tag pith. hosted.go and
// machine_hosted.go take their place when the library OS is tested on an ordinary
// Linux.
package platform

import (
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
)

// The contract. A platform must define the functions below. A test compares the
// list with the declarations.
//
// Unless a function says otherwise:
//   - It may be called from any goroutine, by several at a time, as soon as this
//     package is initialised. That is before every other package of the library OS,
//     and before the program's.
//   - It is not for the runtime itself: not for the system stack, a signal handler,
//     or code that holds a lock of the runtime. Its stack may grow.
//   - It does not park the goroutine, and holds its thread for microseconds at most.
//   - Times are in nanoseconds, sizes and lengths in bytes.
//   - An error is a linux.Errno; 0 means success. A result is valid without an error
//     only.
//   - Memory passed to it does not lie on a goroutine's stack: the address goes down
//     as a number, and stacks move. What package syscall passes on is on the heap.
//
// Part 1. What the library OS calls
//
// Parameters
//
// func Config() *boot.Config
//     Returns the boot parameters. They do not change. In a virtual machine, the
//     numbers of CPUs and bytes are those it has.
//
// func VM() bool
//     Reports whether this is a virtual machine, not a confined process.
//
// func Segments() []Segment
//     Returns the loaded segments of the image, in order of address.
//
// Clocks and timers
//
// func Nanotime() int64
//     Returns the monotonic clock. It is never 0, and equal on all CPUs.
//
// func Walltime() (sec int64, nsec int32)
//     Returns the time since the Unix epoch, in seconds and nanoseconds.
//
// func SetWalltime(ns int64)
//     VM only. Sets the wall clock to ns since the Unix epoch. The monotonic clock
//     and timers do not notice.
//
// func CPUTime() int64
//     Returns the CPU time that the instance has used.
//
// func Sleep(ns int64)
//     Parks the calling goroutine.
//
// func AfterFunc(ns int64, fn func()) *Timer
//     Calls fn after ns, in a goroutine of its own. A negative ns counts as 0, and
//     a time beyond the clock's range as never.
//
// func (t *Timer) Stop() bool
//     Prevents the call. Reports false if the call was made or stopped before. Does
//     not wait for fn.
//
// Waiting
//
// func (w *Waiter) Wait()
//     Parks the calling goroutine until a Wake that comes, or came, after its last
//     Wait. One goroutine waits at a time.
//
// func (w *Waiter) Wake()
//     Ends the current or next Wait. May be called while any lock of the library OS
//     is held.
//
// func PollReady(pd uintptr, m Mode)
//     Marks the runtime's pollDesc pd as ready and makes its waiting goroutines
//     runnable. May be called while any lock of the library OS is held.
//
// func SetPoller(open func(fd int, pd uintptr) linux.Errno, close func(fd int) linux.Errno)
//     Sets what the runtime calls when package internal/poll registers descriptor fd
//     of the library OS, or closes it. Both run on ordinary goroutines. Called once,
//     during initialisation. Before, descriptors cannot be polled (EPERM).
//
// Memory
//
// func Map(addr, length uintptr, prot, flags int) (uintptr, linux.Errno)
//     mmap(2) of anonymous private memory: zeroed, whole pages. flags are further
//     MAP_ flags. PROT_EXEC is EACCES; other bits that mmap ignores have no effect.
//     ENOMEM: no address space, or no memory for a page table.
//
// func Unmap(addr, length uintptr) linux.Errno
//     munmap(2).
//
// func Protect(addr, length uintptr, prot int) linux.Errno
//     mprotect(2); prot as for Map. ENOMEM: part of the range is not mapped.
//
// func Advise(addr, length uintptr, advice int) linux.Errno
//     madvise(2). Hints that change nothing here succeed. Unknown advice is EINVAL.
//
// func Memory() (reserved, resident uint64)
//     Returns the bytes that the Go runtime has addresses for, and those among them
//     that it has not given back. Stops the world for a moment.
//
// func Pointer(addr uintptr) unsafe.Pointer
//     Returns addr as a pointer. The caller keeps what is there alive.
//
// func TakeFree(runs []PageRun) int
//     VM only. Takes free page frames out of use, to report them to the host. Fills
//     runs and returns how many it filled. Gives each run once, until the virtual
//     machine has used it again. One goroutine calls it.
//
// func ReturnFree(runs []PageRun)
//     VM only. Gives back page frames that TakeFree took.
//
// Random numbers
//
// func Random(p []byte)
//     Fills p with random bytes of cryptographic quality. Does not fail: without
//     entropy, it panics.
//
// func SetEntropy(fill func(p []byte))
//     VM only, which has no host to ask. Random calls fill from then on. Called
//     once, during initialisation.
//
// Console
//
// func ConsoleRead(p []byte) (int, linux.Errno)
//     Reads standard input; 0 is its end. Parks the goroutine until there is input.
//     In a process it holds a thread meanwhile: others share the descriptor, so it
//     stays in blocking mode.
//
// func ConsoleWrite(fd int, p []byte) (int, linux.Errno)
//     Writes to standard output (1) or standard error (2). Parks the goroutine, and
//     in a process holds a thread, while the reader is slow.
//
// func SetConsole(read func(p []byte) (int, linux.Errno), write func(fd int, p []byte) (int, linux.Errno))
//     VM only. ConsoleRead and ConsoleWrite call the driver's functions from then
//     on. Called once, during initialisation. Before, the thread layer writes to the
//     debug console.
//
// Control channel
//
// func Control(msg string) linux.Errno
//     Sends one control message to the monitor.
//
// func SetControl(send func(msg string) linux.Errno)
//     VM only. Control calls send from then on. Called once, during initialisation.
//     A process has a descriptor for its messages.
//
// func OnNetworkEnd(f func())
//     Has f called once, when the monitor says that the network has failed: at once if
//     it has said so before.
//
// func EndNetwork()
//     Calls the function of OnNetworkEnd. The receiver of the monitor's control
//     messages calls it.
//
// The end
//
// func Exit(code int)
//     Ends the instance at once, with exit code code (0 to 255). Does not return.
//
// func AtExit(fn func())
//     Has fn called when the program calls os.Exit or returns from main; not after a
//     crash, and not by Exit.
//
// func SetPoweroff(port bool, addr uint64, value uint32)
//     VM only. Tells the nucleus what switches the virtual machine off: 2 bytes to
//     I/O port addr, or 1 byte to guest-physical address addr.
//
// Signals and threads
//
// func Raise(sig int) linux.Errno
//     Sends signal sig to the program, as kill(getpid(), sig). The runtime's handler
//     runs on any thread.
//
// func ThreadID() int
//     Returns the id of the calling thread. The program's first thread is 1.
//
// func RaiseThread(tid, sig int) linux.Errno
//     Sends signal sig to a thread. Signal 0 only asks whether it exists. ESRCH: no
//     such thread.
//
// Descriptors of the host: packets, published ports, and sockets that the monitor
// passes. In a virtual machine there are none.
//
// func OpenHost(fd int) (*Host, linux.Errno)
//     Prepares fd, a descriptor of package boot, for all that follows.
//
// func (h *Host) Read(p []byte) (int, linux.Errno)
//     Reads without blocking: EAGAIN.
//
// func (h *Host) Write(p []byte) (int, linux.Errno)
//     Writes without blocking: EAGAIN.
//
// func (h *Host) Writev(p [][]byte) (int, linux.Errno)
//     Writes the first MaxBuffers of p, as one message where messages have bounds.
//
// func (h *Host) Recv(p []byte, flags int) (int, linux.Errno)
// func (h *Host) Send(p []byte, flags int) (int, linux.Errno)
//     recv(2) and send(2) on a connected socket, without blocking and without
//     SIGPIPE.
//
// func (h *Host) SendTo(p, addr []byte, flags int) (int, linux.Errno)
//     sendto(2), as Send. With an address it is permitted as SendMessage is.
//
// func (h *Host) SendMessage(data [][]byte, addr, control []byte, flags int) (int, linux.Errno)
// func (h *Host) RecvMessage(data [][]byte, addr, control []byte, flags int) (r Received, errno linux.Errno)
//     sendmsg(2) and recvmsg(2) with the first MaxBuffers of data, without blocking.
//     SendMessage is permitted if boot.Config.Sockets is boot.SocketsAll.
//
// func (h *Host) Receive(p []byte) (n int, passed *Host, errno linux.Errno)
//     Reads a message that may carry a descriptor (SCM_RIGHTS). Parks the goroutine,
//     and holds a thread meanwhile. EMFILE: the message's descriptor is lost, because
//     no number is free.
//
// func (h *Host) Accept(addr []byte) (conn *Host, n int, errno linux.Errno)
//     accept4(2) on a listening socket, without blocking. Stores the peer's socket
//     address in addr and returns its length.
//
// func (h *Host) Name(peer bool, addr []byte) (int, linux.Errno)
//     getsockname(2) and getpeername(2). Stores the address in addr and returns its
//     length.
//
// func (h *Host) SetOption(level, name int, val []byte) linux.Errno
// func (h *Host) Option(level, name int, val []byte) (int, linux.Errno)
//     setsockopt(2) and getsockopt(2) of the options in boot.PassedOptions. The
//     monitor kills an image that names another.
//
// func (h *Host) Shutdown(how int) linux.Errno
//     shutdown(2) of a connection.
//
// func (h *Host) Close()
//     Closes the descriptor. Wakes the goroutines in Wait. A second call has no
//     effect.
//
// func (h *Host) CloseLingering()
//     Close, for a socket whose SO_LINGER makes close(2) wait for its peer. Parks the
//     goroutine, and holds a thread meanwhile.
//
// func (h *Host) Wait(m Mode) linux.Errno
//     Parks the calling goroutine until the descriptor becomes ready in direction m,
//     or is closed (EBADF). One goroutine waits for each direction. Try the operation
//     first: only what happens after that is sure to wake.
//
// func (h *Host) Attach(pd uintptr) linux.Errno
//     Has the runtime's pollDesc pd told of the descriptor's readiness, beginning
//     with its present state. EBADF: the descriptor is closed.
//
// func (h *Host) Detach(pd uintptr)
//     Undoes Attach.
//
// Devices. All of these are for a virtual machine only.
//
// func DMA(n int) (mem []byte, phys uint64, errno linux.Errno)
//     Returns n bytes that devices can reach, at guest-physical address phys: zeroed,
//     page-aligned, contiguous for devices too. They are never freed. ENOMEM: no run
//     of page frames is that long.
//
// func MapDevice(phys uint64, n int) (uintptr, linux.Errno)
//     Maps n bytes of device registers at guest-physical address phys, uncached.
//     EINVAL: the range is empty, wraps, or is memory.
//
// func MapFirmware(phys uint64, n int) ([]byte, linux.Errno)
//     Maps n bytes that the firmware left at guest-physical address phys, read-only.
//
// func FirmwareTables() uint64
//     Returns the guest-physical address of the ACPI root pointer (RSDP), or 0.
//
// func NewInterrupt() (*Interrupt, linux.Errno)
//     Allocates an interrupt vector, for good. ENOSPC: none is left.
//
// func (i *Interrupt) Message() (addr uint64, data uint32)
//     Returns what a device writes to raise the interrupt: a message-signalled
//     interrupt (PCI 3.0 §6.8).
//
// func (i *Interrupt) Route(gsi uint32) linux.Errno
//     Has pin gsi of the interrupt controller raise the interrupt, at each edge.
//     EINVAL: there is no such pin.
//
// func (i *Interrupt) Wait()
//     Parks the calling goroutine until the interrupt comes. Returns at once if it
//     came since the last Wait. One goroutine waits.
//
// func (i *Interrupt) Fire()
//     Raises the interrupt, as the device does: a driver ends its own Wait.
//
// Port I/O, on amd64. The nucleus permits the ports of PCI configuration, ACPI and
// the serial line. Any other is a general protection fault.
//
// func In8(port uint16) uint8
// func In16(port uint16) uint16
// func In32(port uint16) uint32
//     Read I/O port port.
//
// func Out8(port uint16, v uint8)
// func Out16(port uint16, v uint16)
// func Out32(port uint16, v uint32)
//     Write v to I/O port port.
//
// Part 2. What the runtime defines for this package
//
// The derived distribution's package runtime defines these by linkname, in its
// pith_*.go and in vm/. VM and FirmwareTables of part 1 are among them.
//
// func bootLine() string
//     Returns the boot parameters as text. Called by init, once.
//
// func machineHas() (cpus int, memory uint64)
//     VM only. Returns the number of vCPUs and the bytes of memory.
//
// func hostCall(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr
//     Passes the gate with call num: a number of Linux's, or in a virtual machine a
//     platform call, from 1000 on. Returns the result; from -4095 on it is a negative
//     errno. A call that the platform does not have is -ENOSYS. Nosplit; does not
//     tell the scheduler, so the call must not block.
//
// func hostCallBlocking(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr
//     Is hostCall for a call that may block its thread.
//
// func exit(code int32)
//     Ends the instance.
//
// func setRandom(fill func(p []byte))
//     Sets what the runtime calls for random bytes. p may lie on a goroutine's stack.
//
// func park(sema *uint32)
//     Waits for the semaphore sema. Counts as waiting for the poller: neither a
//     deadlock nor a wait of testing/synctest.
//
// func unpark(sema *uint32)
//     Signals the semaphore sema.
//
// func setPoller(open func(fd int, pd uintptr) uintptr, close func(fd int) uintptr)
//     Is SetPoller, with errors as numbers.
//
// func pollReady(pd uintptr, mode int32)
//     Is PollReady. mode is 'r', 'w' or their sum.
//
// func hostPollOpen(fd int) (pd unsafe.Pointer, errno int)
//     Adds descriptor fd of the host to the runtime's own poller, edge-triggered, in
//     both directions. In a virtual machine, fd is irqFD plus a vector.
//
// func hostPollSend(fd int, pd unsafe.Pointer) uintptr
//     Sends the events of fd to pd from now on, beginning with its present state.
//     Returns an errno.
//
// func hostPollWait(pd unsafe.Pointer, mode int) int
//     Parks the calling goroutine until pd is ready in mode 'r' or 'w'. Returns 0, or
//     an error of runtime/netpoll.go.
//
// func hostPollUnblock(pd unsafe.Pointer)
//     Wakes those in hostPollWait, for good. Comes before hostPollClose.
//
// func hostPollClose(pd unsafe.Pointer)
//     Frees pd. Nobody may be in hostPollWait.
//
// func portIn(port uint16, size int) uint32
// func portOut(port uint16, size int, v uint32)
//     VM only, amd64. Read or write 1, 2 or 4 bytes at an I/O port. Nosplit.
//
// These are Go's own, by the names that they have there:
//
// func nanotime() int64
//     Is runtime.nanotime.
//
// func timeNow() (sec int64, nsec int32, mono int64)
//     Is time.now.
//
// func timeSleep(ns int64)
//     Is time.Sleep.
//
// func newTimer(when, period int64, f func(arg any, seq uintptr, delta int64), arg any, c unsafe.Pointer) unsafe.Pointer
//     Is time.newTimer. when is on the monotonic clock.
//
// func stopTimer(t unsafe.Pointer) bool
//     Is time.stopTimer.
//
// func getAuxv() []uintptr
//     Is runtime.getAuxv: pairs of type and value (getauxval(3)).

// Mode is a set of the two directions of a poller.
type Mode int32

// Directions of the runtime's poller.
const (
	Readable Mode = 1 << iota
	Writable
)

// PageSize is the size of a page in bytes.
// Received says what RecvMessage has stored: bytes of data, of the sender's address and of
// control messages, and the MSG_* flags of the message.
type Received struct{ N, Addr, Control, Flags int }

const PageSize = 4096

// Config returns the boot parameters of this instance.
func Config() *boot.Config { return &config }

var config boot.Config

// Pointer returns the address addr as a pointer. System calls carry addresses as
// numbers, and only Pointer turns them back. The caller of the system call keeps
// what is there alive (see syscall.Syscall).
func Pointer(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

// Segment is a loaded part of the image: a PT_LOAD program header of the ELF.
type Segment struct {
	Start, End uintptr // addresses, of whole pages
	Off        int64   // offset in the file
	Prot       int     // PROT_*
}

// SetControl sets the driver that sends control messages: Control calls send from
// then on. A confined process has a descriptor for them.
func SetControl(send func(msg string) linux.Errno) { controlDriver = send }

var controlDriver func(msg string) linux.Errno

// OnNetworkEnd sets the function that is called, once, when the monitor says that
// the instance's network has failed. It is called at once if the monitor has said so.
func OnNetworkEnd(f func()) {
	networkEnd.Store(&f)
	if networkEnded.Load() {
		EndNetwork()
	}
}

// EndNetwork calls the function of OnNetworkEnd: the monitor has said that the
// network has failed.
func EndNetwork() {
	networkEnded.Store(true)
	if f := networkEnd.Swap(nil); f != nil {
		(*f)()
	}
}

var (
	networkEnd   atomic.Pointer[func()]
	networkEnded atomic.Bool
)

// SetEntropy sets the source of Random in a virtual machine, which has no host to
// ask.
func SetEntropy(fill func(p []byte)) { entropy = fill }

var entropy func(p []byte)
