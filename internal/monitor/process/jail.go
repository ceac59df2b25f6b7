package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// jailName is the argument 0 by which a process knows that it is to be the
// jail. The one other argument is the number of listening sockets.
const jailName = "pith-jail"

// The jail starts with the descriptors of package boot in their places, the
// listening sockets last of them, and these two behind. Both are closed by
// execveat, so that their numbers become those of the first connections.
func imageFD(listeners int) int  { return boot.FDListen + listeners }
func statusFD(listeners int) int { return boot.FDListen + listeners + 1 }

// request is what the monitor asks of the jail, on the status socket. The
// strings of a program are bytes to Linux, and not always UTF-8.
type request struct {
	Args, Env [][]byte
	Boot      boot.Config
	UID, GID  int  // to change to; 0: stay
	OwnUser   bool // in a user namespace of its own
	OwnMounts bool // in a mount namespace of its own
}

// report is the jail's answer. The first one says what it obtained; a second
// one comes only when the image could not be executed. Then the socket closes.
type report struct {
	Root  string // what the image has for a root directory
	Error string // when the image will not run
}

// Main becomes the jail when this process was started as one, and returns at
// once when it was not. It must be the first call of main.
func Main() {
	if len(os.Args) != 2 || os.Args[0] != jailName {
		return
	}
	// The jail is this thread: capabilities, user and filter are attributes
	// of a thread, and execveat ends the runtime's other threads.
	runtime.LockOSThread()
	listeners, err := strconv.Atoi(os.Args[1])
	if err == nil {
		status := statusFD(listeners)
		err = enter(listeners, status)
		// When the monitor is gone there is nobody to tell.
		_ = send(status, report{Error: err.Error()})
	}
	os.Exit(monitor.ExitFailure)
}

func send(status int, r report) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = unix.Write(status, line)
	return err
}

// enter gives up everything and becomes the image. It returns on failure only.
func enter(listeners, status int) error {
	var req request
	if err := json.NewDecoder(fdReader(status)).Decode(&req); err != nil {
		return fmt.Errorf("read the monitor's request: %w", err)
	}
	image := imageFD(listeners)
	for _, fd := range []int{image, status} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	if err := closeFrom(status + 1); err != nil {
		return fmt.Errorf("close inherited descriptors: %w", err)
	}
	limits, err := resourceLimits(req.Boot.Memory, req.OwnUser)
	if err != nil {
		return err
	}
	root := emptyRoot(req.OwnMounts, image)
	if err := dropPrivileges(req.UID, req.GID); err != nil {
		return err
	}
	// Not before now: a change of user clears it (prctl(2)). If the monitor
	// has ended already, the report has no receiver.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("end with the monitor: %w", err)
	}
	if err := send(status, report{Root: root}); err != nil {
		return fmt.Errorf("report to the monitor: %w", err)
	}

	req.Boot.PID = os.Getpid()
	env := append([][]byte{[]byte(boot.EnvVar + "=" + req.Boot.String())}, req.Env...)
	argv, err := cStrings(req.Args)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	envp, err := cStrings(env)
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	path := new(byte)
	call := execCall{
		fd:   image,
		path: uintptr(unsafe.Pointer(path)),
		argv: uintptr(unsafe.Pointer(&argv[0])),
		envp: uintptr(unsafe.Pointer(&envp[0])),
	}
	code, err := filter(bounds{
		pid: req.Boot.PID, network: req.Boot.Net != nil, folders: len(req.Boot.Mounts) > 0, listeners: listeners, exec: call,
	})
	if err != nil {
		return err
	}
	err = confineAndExec(limits, code, call)
	runtime.KeepAlive(path)
	runtime.KeepAlive(argv)
	runtime.KeepAlive(envp)
	return err
}

// confineAndExec sets the image's limits, loads the filter for this thread
// alone and executes the image. Nothing here allocates or gives the processor
// away: with a limit or the filter in place, the Go runtime must not need
// memory or a thread. (The monitor gives the jail one processor and turns off
// preemption and the collector.)
func confineAndExec(limits []limit, code []unix.SockFilter, call execCall) error {
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	doing, errno := "limit resources", unix.Errno(0)
	for i := range limits {
		_, _, errno = unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(limits[i].resource),
			uintptr(unsafe.Pointer(&limits[i].value)), 0, 0, 0)
		if errno != 0 {
			break
		}
	}
	if errno == 0 {
		doing = "load the system call filter"
		_, _, errno = unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0,
			uintptr(unsafe.Pointer(&prog)))
	}
	if errno == 0 {
		doing = "execute the image"
		_, _, errno = unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(call.fd), call.path, call.argv, call.envp,
			unix.AT_EMPTY_PATH, 0)
	}
	return fmt.Errorf("%s: %w", doing, errno)
}

// cStrings is a vector of arguments as execve(2) takes it. Its memory is on the
// heap and does not move.
func cStrings(list [][]byte) ([]*byte, error) {
	strs := make([]string, len(list))
	for i, b := range list {
		strs[i] = string(b)
	}
	return syscall.SlicePtrFromStrings(strs)
}

// closeFrom closes every descriptor from first on.
func closeFrom(first int) error {
	err := unix.CloseRange(uint(first), ^uint(0)>>32, 0)
	if !errors.Is(err, unix.ENOSYS) { // before Linux 5.9
		return err
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		if fd < first {
			continue
		}
		// The directory's own descriptor is on its list, closed by now.
		if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EBADF) {
			return err
		}
	}
	return nil
}

// fdReader reads a descriptor without the runtime's poller, which would open
// descriptors of its own.
type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, errors.New("the monitor has ended")
		default:
			return n, nil
		}
	}
}
