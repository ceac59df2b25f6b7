package jail

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Execution is the call of execveat(2) at the end of a jail's preparation. Its strings
// are on the heap and do not move.
type Execution struct {
	doing      string
	fd         int
	path       *byte
	argv, envp []*byte
}

// NewExecution prepares the execution of the open file fd. Error messages use what as
// the name of the file.
func NewExecution(what string, fd int, args, env [][]byte) (e Execution, err error) {
	e = Execution{doing: "execute " + what, fd: fd, path: new(byte)}
	if e.argv, err = cStrings(args); err != nil {
		return e, fmt.Errorf("arguments: %w", err)
	}
	if e.envp, err = cStrings(env); err != nil {
		return e, fmt.Errorf("environment: %w", err)
	}
	return e, nil
}

// Pointers returns the call's arguments 1 to 3.
func (e *Execution) Pointers() (path, argv, envp uintptr) {
	return uintptr(unsafe.Pointer(e.path)), uintptr(unsafe.Pointer(&e.argv[0])), uintptr(unsafe.Pointer(&e.envp[0]))
}

// Exec sets limits, loads a filter for this thread alone and executes the file. It
// returns only on failure. Once a limit or the filter is in place, the Go runtime must
// not need memory or a thread (see environment). So Exec does not allocate memory or
// block.
func (e *Execution) Exec(limits []Limit, code []unix.SockFilter) error {
	path, argv, envp := e.Pointers()
	doing, errno := "limit resources", setLimits(limits)
	if errno == 0 && len(code) > 0 {
		doing, errno = "load the system call filter", loadFilter(code, 0)
	}
	if errno == 0 {
		doing = e.doing
		_, _, errno = unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(e.fd), path, argv, envp, unix.AT_EMPTY_PATH, 0)
	}
	runtime.KeepAlive(e)
	return fmt.Errorf("%s: %w", doing, errno)
}

// loadFilter loads a filter (seccomp(2)).
func loadFilter(code []unix.SockFilter, flags uintptr) unix.Errno {
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	r, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno == 0 && r != 0 { // r is the id of a thread that cannot load the filter
		return unix.ESRCH
	}
	return errno
}

// cStrings returns list as a vector of C strings for execve(2).
func cStrings(list [][]byte) ([]*byte, error) {
	vector := make([]*byte, 0, len(list)+1)
	for _, s := range list {
		p, err := unix.BytePtrFromString(string(s))
		if err != nil {
			return nil, err
		}
		vector = append(vector, p)
	}
	return append(vector, nil), nil
}

// KeepOnly marks the descriptors from first to last to be closed on execution, and
// closes all higher ones now.
func KeepOnly(first, last int) error {
	for fd := first; fd <= last; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	if err := closeFrom(last + 1); err != nil {
		return fmt.Errorf("close inherited descriptors: %w", err)
	}
	return nil
}

// MoveAbove moves a descriptor, which is closed on execution, to the lowest free number from
// first on. It returns the new number.
func MoveAbove(fd int, first uint64) (int, error) {
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, int(first))
	if err != nil {
		return -1, fmt.Errorf("move descriptor %d to %d: %w", fd, first, err)
	}
	return moved, unix.Close(fd)
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
		// The list includes the directory's own descriptor, which is already closed.
		if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EBADF) {
			return err
		}
	}
	return nil
}
