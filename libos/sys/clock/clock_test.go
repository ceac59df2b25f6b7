package clock_test

import (
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
)

const noAddr = 0

func TestTimeAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		for _, id := range []uintptr{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 99} {
			ts := new(linux.Timespec)
			k.Do("gettime", linux.SYS_CLOCK_GETTIME, id, systest.Addr(ts))
			k.Note("%d: %v", id, ts.Nano() > 0)
			k.Do("getres bad", linux.SYS_CLOCK_GETRES, id, noAddr)
		}
		k.Do("gettime null", linux.SYS_CLOCK_GETTIME, 0, 0)
		bad := systest.Addr(&linux.Timespec{Nsec: 1e9})
		k.Do("nanosleep bad", linux.SYS_NANOSLEEP, bad, 0)
		k.Do("nanosleep null", linux.SYS_NANOSLEEP, 0, 0)
		k.Do("nanosleep", linux.SYS_NANOSLEEP, systest.Addr(&linux.Timespec{Nsec: 1e6}), 0)
		k.Do("sleep clock", linux.SYS_CLOCK_NANOSLEEP, 99, 0, bad, 0)
		k.Do("sleep thread clock", linux.SYS_CLOCK_NANOSLEEP, linux.CLOCK_THREAD_CPUTIME_ID, 0, bad, 0)
		k.Do("sleep to the past", linux.SYS_CLOCK_NANOSLEEP, linux.CLOCK_REALTIME, linux.TIMER_ABSTIME, systest.Addr(&linux.Timespec{Sec: 1}), 0)
		tv := new(linux.Timeval)
		k.Do("gettimeofday", linux.SYS_GETTIMEOFDAY, systest.Addr(tv), 0)
		k.Note("%v", time.Since(time.Unix(tv.Sec, tv.Usec*1000)) < time.Second)
		it := new(linux.Itimerval)
		k.Do("getitimer", linux.SYS_GETITIMER, 0, systest.Addr(it))
		k.Note("%v", *it)
		k.Do("getitimer which", linux.SYS_GETITIMER, 9, systest.Addr(it))
		k.Do("setitimer which", linux.SYS_SETITIMER, 9, systest.Addr(it))
		k.Do("setitimer bad", linux.SYS_SETITIMER, 0, systest.Addr(&linux.Itimerval{Value: linux.Timeval{Usec: 1e6}}), 0)
		k.Do("setitimer", linux.SYS_SETITIMER, 0, systest.Addr(&linux.Itimerval{Value: linux.Timeval{Sec: 100}, Interval: linux.Timeval{Sec: 3}}), 0)
		k.Do("getitimer", linux.SYS_GETITIMER, 0, systest.Addr(it))
		k.Note("%d %d", (it.Value.Sec+1)/10, it.Interval.Sec)
		k.Do("alarm", linux.SYS_ALARM, 50)
		k.Do("alarm off", linux.SYS_ALARM, 0)
		k.Do("alarm again", linux.SYS_ALARM, 0)
	})
}
