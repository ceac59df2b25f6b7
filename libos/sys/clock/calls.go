// Package clock has the system calls about time: clocks, sleeping and interval
// timers.
package clock

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
)

// Common are the calls that package syscall makes itself: see package sys.
var Common = []call.Entry{
	{linux.SYS_NANOSLEEP, sysNanosleep},
	{linux.SYS_TIMES, sysTimes},
	// The host sets the clock.
	{linux.SYS_CLOCK_SETTIME, call.NotPermitted},
	{linux.SYS_SETTIMEOFDAY, call.NotPermitted},
}

// Rest are the calls that only a program that names system calls makes: see
// package sys.
var Rest = []call.Entry{
	{linux.SYS_TIME, sysTime},
	{linux.SYS_GETTIMEOFDAY, sysGettimeofday},
	{linux.SYS_CLOCK_GETTIME, sysClockGettime},
	{linux.SYS_CLOCK_GETRES, sysClockGetres},
	{linux.SYS_CLOCK_NANOSLEEP, sysClockNanosleep},
	{linux.SYS_ALARM, sysAlarm},
	{linux.SYS_GETITIMER, sysGetitimer},
	{linux.SYS_SETITIMER, sysSetitimer},
}
