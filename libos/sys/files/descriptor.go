package files

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/wait"
)

// closeFD is close(2). Closing any descriptor of a file drops the program's record
// locks on the file (fcntl(2), "Advisory record locking").
func closeFD(fd int) linux.Errno {
	if f := call.Files.Get(fd); f != nil {
		vfs.DropRecordLocks(f)
	}
	return call.Files.Close(fd)
}

func closeRange(a *call.Args) (uintptr, linux.Errno) {
	first, last, flags := uint32(a.A0), uint32(a.A1), a.A2
	// CLOSE_RANGE_UNSHARE has nothing to do: no other process shares the table.
	if first > last || flags&^(linux.CLOSE_RANGE_UNSHARE|linux.CLOSE_RANGE_CLOEXEC) != 0 {
		return 0, linux.EINVAL
	}
	var fds []int
	call.Files.Each(func(fd int, _ file.File) {
		if uint32(fd) >= first && uint32(fd) <= last {
			fds = append(fds, fd)
		}
	})
	// A descriptor that another goroutine closes meanwhile is not an error.
	for _, fd := range fds {
		if flags&linux.CLOSE_RANGE_CLOEXEC != 0 {
			call.Files.SetCloseOnExec(fd, true)
		} else {
			closeFD(fd)
		}
	}
	return 0, 0
}

func dup(fd uintptr, min int, cloexec bool) (uintptr, linux.Errno) {
	n, errno := call.Files.Dup(call.FD(fd), min, cloexec)
	return uintptr(n), errno
}

func dup2(a *call.Args) (uintptr, linux.Errno) {
	if call.FD(a.A0) == call.FD(a.A1) {
		if call.Files.Get(call.FD(a.A0)) == nil {
			return 0, linux.EBADF
		}
		return a.A1, 0
	}
	return dupTo(a.A0, a.A1, false)
}

func dup3(a *call.Args) (uintptr, linux.Errno) {
	if call.FD(a.A0) == call.FD(a.A1) || uint32(a.A2)&^linux.O_CLOEXEC != 0 {
		return 0, linux.EINVAL
	}
	return dupTo(a.A0, a.A1, uint32(a.A2)&linux.O_CLOEXEC != 0)
}

func dupTo(from, to uintptr, cloexec bool) (uintptr, linux.Errno) {
	if f := call.Files.Get(call.FD(to)); f != nil {
		vfs.DropRecordLocks(f)
	}
	if errno := call.Files.DupTo(call.FD(from), call.FD(to), cloexec); errno != 0 {
		return 0, errno
	}
	return to, 0
}

// pipeSizer is a file that has F_GETPIPE_SZ and F_SETPIPE_SZ.
type pipeSizer interface {
	Size() int
	Resize(size int) (int, linux.Errno)
}

// sealer is a file that has F_GET_SEALS and F_ADD_SEALS: a memfd.
type sealer interface {
	Seals() (uint32, linux.Errno)
	AddSeals(seals uint32) linux.Errno
}

func fcntl(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	fd, cmd, arg := call.FD(a.A0), call.FD(a.A1), a.A2
	switch cmd {
	case linux.F_DUPFD, linux.F_DUPFD_CLOEXEC:
		if call.FD(arg) < 0 || call.FD(arg) >= file.MaxDescriptors {
			return 0, linux.EINVAL
		}
		return dup(a.A0, call.FD(arg), cmd == linux.F_DUPFD_CLOEXEC)
	case linux.F_GETFD:
		on, errno := call.Files.CloseOnExec(fd)
		if on {
			return linux.FD_CLOEXEC, errno
		}
		return 0, errno
	case linux.F_SETFD:
		return 0, call.Files.SetCloseOnExec(fd, arg&linux.FD_CLOEXEC != 0)
	case linux.F_GETFL:
		return uintptr(f.Flags()), 0
	}
	if vfs.IsPath(f) {
		return 0, linux.EBADF
	}
	switch cmd {
	case linux.F_SETFL:
		if arg&linux.O_NOATIME != 0 && f.Flags()&linux.O_NOATIME == 0 {
			if d := vfs.DentryOf(f); d != nil {
				if errno := d.MayAsOwner(); errno != 0 {
					return 0, errno
				}
			}
		}
		f.SetFlags(uint32(arg))
		return 0, 0
	case linux.F_GETLK, linux.F_SETLK, linux.F_SETLKW, linux.F_OFD_GETLK, linux.F_OFD_SETLK, linux.F_OFD_SETLKW:
		return 0, recordLock(f, cmd, arg)
	case linux.F_GETPIPE_SZ, linux.F_SETPIPE_SZ:
		return pipeSize(f, cmd, arg)
	case linux.F_GET_SEALS, linux.F_ADD_SEALS:
		return seals(f, cmd, arg)
	case linux.F_GETOWN, linux.F_SETOWN:
		// No process gets SIGIO: O_ASYNC cannot be set.
		return 0, 0
	}
	return 0, linux.EINVAL
}

func pipeSize(f file.File, cmd int, arg uintptr) (uintptr, linux.Errno) {
	p, ok := f.(pipeSizer)
	if !ok {
		return 0, linux.EBADF
	}
	if cmd == linux.F_GETPIPE_SZ {
		return uintptr(p.Size()), 0
	}
	n, errno := p.Resize(int(int32(arg)))
	return uintptr(n), errno
}

func seals(f file.File, cmd int, arg uintptr) (uintptr, linux.Errno) {
	s, ok := f.(sealer)
	if !ok {
		return 0, linux.EINVAL
	}
	if cmd == linux.F_ADD_SEALS {
		return 0, s.AddSeals(uint32(arg))
	}
	have, errno := s.Seals()
	return uintptr(have), errno
}

func ioctl(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	if vfs.IsPath(f) {
		return 0, linux.EBADF
	}
	switch req := uint(uint32(a.A1)); req {
	case linux.FIOCLEX, linux.FIONCLEX:
		return 0, call.Files.SetCloseOnExec(call.FD(a.A0), req == linux.FIOCLEX)
	case linux.FIONBIO:
		on, errno := call.At[int32](a.A2)
		if errno != 0 {
			return 0, errno
		}
		flags := f.Flags() &^ linux.O_NONBLOCK
		if *on != 0 {
			flags |= linux.O_NONBLOCK
		}
		f.SetFlags(flags)
		return 0, 0
	default:
		return f.Ioctl(req, a.A2)
	}
}

func flock(a *call.Args) (uintptr, linux.Errno) {
	op := call.FD(a.A1)
	typ := int16(linux.F_UNLCK)
	switch op &^ linux.LOCK_NB {
	case linux.LOCK_SH:
		typ = linux.F_RDLCK
	case linux.LOCK_EX:
		typ = linux.F_WRLCK
	case linux.LOCK_UN:
	default:
		return 0, linux.EINVAL
	}
	f, errno := call.File(a.A0)
	if errno != 0 || vfs.IsPath(f) {
		return 0, linux.EBADF
	}
	return 0, lock(op&linux.LOCK_NB == 0, func() linux.Errno { return vfs.Flock(f, typ) })
}

// recordLock does the locking commands of fcntl(2).
func recordLock(f file.File, cmd int, arg uintptr) linux.Errno {
	l, errno := call.At[linux.Flock](arg)
	if errno != 0 {
		return errno
	}
	ofd := cmd >= linux.F_OFD_GETLK
	if ofd && l.PID != 0 {
		return linux.EINVAL
	}
	switch cmd {
	case linux.F_GETLK, linux.F_OFD_GETLK:
		return vfs.TestLock(f, l, ofd)
	}
	waits := cmd == linux.F_SETLKW || cmd == linux.F_OFD_SETLKW
	return lock(waits, func() linux.Errno { return vfs.SetLock(f, l, ofd) })
}

// lock calls try; if waits is set, after each change of a lock until it succeeds.
func lock(waits bool, try func() linux.Errno) linux.Errno {
	if !waits {
		return try()
	}
	_, errno := call.Wait(&vfs.LockChanges, wait.In, -1, func() (uintptr, linux.Errno) { return 0, try() })
	return errno
}
