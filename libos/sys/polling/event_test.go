package polling_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
)

// put writes a 64-bit number, as eventfd expects.
func put(k *systest.Kernel, label string, fd uintptr, v uint64) {
	k.Write(label, fd, string(binary.NativeEndian.AppendUint64(nil, v)))
}

func TestEventfdAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		k.Do("bad flags", linux.SYS_EVENTFD2, 0, 2)
		fd := k.FD(t, linux.SYS_EVENTFD2, 3, nonblock)
		k.Level("3", fd)
		k.Read("short", fd, 7)
		k.Read("long", fd, 16)
		k.Level("0", fd)
		k.Read("empty", fd, 8)
		put(k, "add", fd, 5)
		put(k, "add", fd, 6)
		k.Write("short", fd, "1234567")
		put(k, "reserved", fd, 1<<64-1)
		put(k, "too much", fd, 1<<64-2)
		put(k, "to the top", fd, 1<<64-2-11)
		k.Level("full", fd)
		put(k, "one more", fd, 1)
		put(k, "zero", fd, 0)
		k.Read("all", fd, 8)
		k.Do("FIONREAD", linux.SYS_IOCTL, fd, linux.FIONREAD, systest.Addr(new(int32)))
		k.Close(fd)
	})
}

func TestEventfdSemaphoreAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		fd := k.FD(t, linux.SYS_EVENTFD2, 2, nonblock|linux.EFD_SEMAPHORE)
		k.Read("one", fd, 8)
		put(k, "add", fd, 1)
		k.Read("two", fd, 8)
		k.Read("three", fd, 8)
		k.Read("none", fd, 8)
		k.Close(fd)
	})
}

func TestEventfdBlocksAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		fd := k.FD(t, linux.SYS_EVENTFD2, 0, 0)
		done := make(chan bool)
		go func() { k.Read("read", fd, 8); done <- true }()
		time.Sleep(5 * time.Millisecond)
		k.Raw(linux.SYS_WRITE, fd, systest.Addr(&[]uint64{7}[0]), 8)
		<-done
		k.Close(fd)
	})
}

func spec(value, interval time.Duration) uintptr {
	return systest.Addr(&linux.Itimerspec{Value: linux.TimespecOf(int64(value)), Interval: linux.TimespecOf(int64(interval))})
}

func TestTimerfdAsLinux(t *testing.T) {
	const ms = time.Millisecond
	for _, clock := range []uintptr{linux.CLOCK_REALTIME, linux.CLOCK_MONOTONIC, linux.CLOCK_BOOTTIME} {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			fd := k.FD(t, linux.SYS_TIMERFD_CREATE, clock, nonblock)
			k.Read("disarmed", fd, 8)
			k.Level("disarmed", fd)
			k.Do("set", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(20*ms, 0), 0)
			k.Read("early", fd, 8)
			k.Read("short", fd, 4)
			time.Sleep(30 * ms)
			k.Level("expired", fd)
			k.Read("expired", fd, 8)
			k.Read("once", fd, 8)

			old := new(linux.Itimerspec)
			k.Do("set", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(50*ms, 100*ms), 0)
			k.Do("set again", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(10*ms, 10*ms), systest.Addr(old))
			k.Note("%v %v", old.Interval, old.Value.Nsec > 0 && old.Value.Nsec <= 50e6)
			time.Sleep(45 * ms)
			n := new([8]byte)
			k.Raw(linux.SYS_READ, fd, systest.Addr(n), 8)
			k.Note("several: %v", n[0] >= 4)
			k.Do("gettime", linux.SYS_TIMERFD_GETTIME, fd, systest.Addr(old))
			k.Note("%v %v", old.Interval, old.Value.Nsec > 0 && old.Value.Nsec <= 10e6)
			k.Do("disarm", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(0, 10*ms), 0)
			time.Sleep(15 * ms)
			k.Read("disarmed", fd, 8)

			k.Do("past", linux.SYS_TIMERFD_SETTIME, fd, linux.TFD_TIMER_ABSTIME, spec(1, 0), 0)
			time.Sleep(2 * ms)
			k.Read("past", fd, 8)
			k.Do("bad", linux.SYS_TIMERFD_SETTIME, fd, 0, systest.Addr(&linux.Itimerspec{Value: linux.Timespec{Nsec: 1e9}}), 0)
			k.Do("bad flags", linux.SYS_TIMERFD_SETTIME, fd, 8, spec(1, 0), 0)
			k.Do("null", linux.SYS_TIMERFD_SETTIME, fd, 0, 0, 0)
			k.Write("write", fd, "12345678")
			k.Close(fd)

			e := k.FD(t, linux.SYS_EVENTFD2, 0, 0)
			k.Do("not a timer", linux.SYS_TIMERFD_GETTIME, e, systest.Addr(old))
			k.Do("not open", linux.SYS_TIMERFD_GETTIME, 9999, systest.Addr(old))
			k.Do("bad clock", linux.SYS_TIMERFD_CREATE, 99, 0)
			k.Close(e)
		})
	}
}

func TestTimerfdWakesReader(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		fd := k.FD(t, linux.SYS_TIMERFD_CREATE, linux.CLOCK_MONOTONIC, 0)
		k.Do("set", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(5*time.Millisecond, 0), 0)
		k.Read("blocks", fd, 8)
		k.Close(fd)
	})
}
