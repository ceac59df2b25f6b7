// Package polling has the system calls that wait for events on files: poll,
// select and epoll, and the files made for that, eventfd and timerfd.
package polling

import (
	"github.com/pith-os/pith/libos/epoll"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
)

// Rest are the calls that only a program that names system calls makes: see
// package sys.
var Rest = []call.Entry{
	// poll and select.
	{linux.SYS_POLL, func(a *call.Args) (uintptr, linux.Errno) {
		return poll(a.A0, a.A1, milliseconds(a.A2))
	}},
	{linux.SYS_PPOLL, sysPpoll},
	{linux.SYS_SELECT, sysSelect},
	{linux.SYS_PSELECT6, sysPselect},
	// epoll.
	{linux.SYS_EPOLL_CREATE, func(a *call.Args) (uintptr, linux.Errno) {
		if int32(a.A0) <= 0 {
			return 0, linux.EINVAL
		}
		return call.Install(epoll.New(), 0)
	}},
	{linux.SYS_EPOLL_CREATE1, func(a *call.Args) (uintptr, linux.Errno) {
		if uint32(a.A0)&^linux.EPOLL_CLOEXEC != 0 {
			return 0, linux.EINVAL
		}
		return call.Install(epoll.New(), uint32(a.A0))
	}},
	{linux.SYS_EPOLL_CTL, sysEpollCtl},
	{linux.SYS_EPOLL_WAIT, func(a *call.Args) (uintptr, linux.Errno) {
		return epollWait(a, milliseconds(a.A3))
	}},
	{linux.SYS_EPOLL_PWAIT, func(a *call.Args) (uintptr, linux.Errno) {
		if errno := checkSigmask(a.A4, a.A5); errno != 0 {
			return 0, errno
		}
		return epollWait(a, milliseconds(a.A3))
	}},
	{linux.SYS_EPOLL_PWAIT2, func(a *call.Args) (uintptr, linux.Errno) {
		timeout, errno := call.Timeout(a.A3)
		if errno != 0 {
			return 0, errno
		}
		if errno := checkSigmask(a.A4, a.A5); errno != 0 {
			return 0, errno
		}
		return epollWait(a, timeout)
	}},
	// eventfd and timerfd.
	{linux.SYS_EVENTFD, func(a *call.Args) (uintptr, linux.Errno) { return sysEventfd(uint32(a.A0), 0) }},
	{linux.SYS_EVENTFD2, func(a *call.Args) (uintptr, linux.Errno) { return sysEventfd(uint32(a.A0), uint32(a.A1)) }},
	{linux.SYS_TIMERFD_CREATE, sysTimerfdCreate},
	{linux.SYS_TIMERFD_SETTIME, sysTimerfdSettime},
	{linux.SYS_TIMERFD_GETTIME, sysTimerfdGettime},
}
