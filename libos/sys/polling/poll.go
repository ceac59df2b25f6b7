package polling

import (
	"math/bits"
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"
)

// watched is a file that poll or select waits for.
type watched struct {
	file  file.File
	mask  wait.Events // what the caller asks for, and wait.Always
	entry wait.Entry
}

// pollMask returns the events that the bits of a struct pollfd ask for. pollBits
// returns the bits that report events. poll(2) has two names for ordinary data.
func pollMask(events int16) wait.Events {
	ev := wait.Events(uint16(events))
	if events&linux.POLLRDNORM != 0 {
		ev |= wait.In
	}
	if events&linux.POLLWRNORM != 0 {
		ev |= wait.Out
	}
	return ev | wait.Always
}

func pollBits(ev wait.Events, asked int16) int16 {
	bits := int16(ev)
	if ev&wait.In != 0 {
		bits |= linux.POLLRDNORM
	}
	if ev&wait.Out != 0 {
		bits |= linux.POLLWRNORM
	}
	return bits & (asked | int16(wait.Always))
}

// waitAny waits until ready returns more than 0, or for timeout nanoseconds, and
// returns its result. ready looks at all files and counts the ready ones.
func waitAny(files []watched, timeout int64, ready func() int) int {
	n := ready()
	if n > 0 || timeout == 0 {
		return n
	}
	var w call.Waiter
	w.Start(timeout)
	defer w.Stop()
	for i := range files {
		f := &files[i]
		if f.file == nil {
			continue
		}
		if q := f.file.Watch(); q != nil {
			f.entry.Notify = w.Notify
			q.Register(&f.entry, f.mask)
			defer q.Unregister(&f.entry)
		}
	}
	for {
		if n = ready(); n > 0 || !w.Park() {
			return n
		}
	}
}

// poll is poll(2) with a timeout in nanoseconds.
func poll(addr, n uintptr, timeout int64) (uintptr, linux.Errno) {
	if n > file.MaxDescriptors {
		return 0, linux.EINVAL
	}
	if n > 0 && addr < platform.PageSize {
		return 0, linux.EFAULT
	}
	fds := unsafe.Slice((*linux.PollFd)(platform.Pointer(addr)), n)
	files := make([]watched, n)
	for i := range fds {
		if fds[i].Fd >= 0 {
			files[i] = watched{file: call.Files.Get(int(fds[i].Fd)), mask: pollMask(fds[i].Events)}
		}
	}
	return uintptr(waitAny(files, timeout, func() int {
		count := 0
		for i := range fds {
			p := &fds[i]
			p.Revents = 0
			switch f := files[i].file; {
			case p.Fd < 0:
			case f == nil:
				p.Revents = linux.POLLNVAL
			default:
				p.Revents = pollBits(f.Ready(), p.Events)
			}
			if p.Revents != 0 {
				count++
			}
		}
		return count
	})), 0
}

// sysPpoll is ppoll(2). It stores the time that is left, as Linux does.
func sysPpoll(a *call.Args) (uintptr, linux.Errno) {
	timeout, errno := call.Timeout(a.A2)
	if errno == 0 {
		errno = checkSigmask(a.A3, a.A4)
	}
	if errno != 0 {
		return 0, errno
	}
	start := platform.Nanotime()
	n, errno := poll(a.A0, a.A1, timeout)
	if a.A2 != 0 {
		*(*linux.Timespec)(platform.Pointer(a.A2)) = linux.TimespecOf(call.Left(start, timeout))
	}
	return n, errno
}

func sysSelect(a *call.Args) (uintptr, linux.Errno) {
	if a.A4 == 0 {
		return selectFiles(a, -1)
	}
	tv, errno := call.At[linux.Timeval](a.A4)
	if errno != 0 {
		return 0, errno
	}
	if tv.Sec < 0 || tv.Usec < 0 {
		return 0, linux.EINVAL
	}
	start, timeout := platform.Nanotime(), linux.Timespec{Sec: tv.Sec + tv.Usec/1e6, Nsec: tv.Usec % 1e6 * 1e3}.Saturated()
	n, errno := selectFiles(a, timeout)
	*tv = linux.TimevalOf(call.Left(start, timeout))
	return n, errno
}

// sysPselect is pselect6(2). Its last argument points to a signal mask's address and
// size.
func sysPselect(a *call.Args) (uintptr, linux.Errno) {
	timeout, errno := call.Timeout(a.A4)
	if errno != 0 {
		return 0, errno
	}
	if a.A5 != 0 {
		m, errno := call.At[[2]uintptr](a.A5)
		if errno == 0 {
			errno = checkSigmask(m[0], m[1])
		}
		if errno != 0 {
			return 0, errno
		}
	}
	start := platform.Nanotime()
	n, errno := selectFiles(a, timeout)
	if a.A4 != 0 {
		*(*linux.Timespec)(platform.Pointer(a.A4)) = linux.TimespecOf(call.Left(start, timeout))
	}
	return n, errno
}

// selectSets has the events for each of select's three sets of descriptors
// (select(2), "Correspondence between select() and poll() notifications").
var selectSets = [3]wait.Events{
	wait.In | wait.Hup | wait.Err,
	wait.Out | wait.Err,
	wait.Pri,
}

// selectFiles is select(2) with a timeout in nanoseconds.
func selectFiles(a *call.Args, timeout int64) (uintptr, linux.Errno) {
	n := int(int32(a.A0))
	if n < 0 {
		return 0, linux.EINVAL
	}
	n = min(n, file.MaxDescriptors)
	words := (n + 63) / 64
	var sets, asked [3][]uint64
	for i, addr := range [...]uintptr{a.A1, a.A2, a.A3} {
		if addr >= platform.PageSize && words > 0 {
			sets[i] = unsafe.Slice((*uint64)(platform.Pointer(addr)), words)
			asked[i] = append(asked[i], sets[i]...)
			if n%64 != 0 { // ignore bits from n on
				asked[i][words-1] &= 1<<(n%64) - 1
			}
		} else if addr != 0 && words > 0 {
			return 0, linux.EFAULT
		}
	}
	var fds []int
	var files []watched
	for word := range words {
		var all uint64
		for i := range asked {
			if asked[i] != nil {
				all |= asked[i][word]
			}
		}
		for ; all != 0; all &= all - 1 {
			fd := word*64 + bits.TrailingZeros64(all)
			f := call.Files.Get(fd)
			if f == nil {
				return 0, linux.EBADF
			}
			fds = append(fds, fd)
			files = append(files, watched{file: f, mask: wait.In | wait.Out | wait.Pri | wait.Always})
		}
	}
	return uintptr(waitAny(files, timeout, func() int {
		count := 0
		for i := range sets {
			clear(sets[i])
		}
		for j, fd := range fds {
			ev := files[j].file.Ready()
			for i := range sets {
				bit := uint64(1) << (fd % 64)
				if ev&selectSets[i] != 0 && asked[i] != nil && asked[i][fd/64]&bit != 0 {
					sets[i][fd/64] |= bit
					count++
				}
			}
		}
		return count
	})), 0
}
