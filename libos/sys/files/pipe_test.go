package files_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
)

const nonblock = linux.O_NONBLOCK

func TestPipeAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
		k.Read("empty", r, 10)
		k.Level("r", r)
		k.Level("w", w)
		k.Write("write", w, "hello")
		k.Write("merge", w, " world")
		k.Read("part", r, 3)
		k.Read("rest", r, 100)
		k.Read("wrong end", w, 1)
		k.Write("wrong end", r, "x")
		k.Write("nothing", w, "")
		k.Read("nothing", r, 0)
		// Fill it, page by page and past the end.
		k.Write("61440", w, strings.Repeat("a", 61440))
		k.Level("one page left", w)
		k.Write("100", w, strings.Repeat("b", 100))
		k.Level("none left", w)
		k.Write("atomic", w, strings.Repeat("c", 4096))
		k.Write("merges still", w, strings.Repeat("d", 3000))
		k.Write("does not", w, strings.Repeat("d", 3000))
		k.Read("one byte", r, 1)
		k.Level("page not free", w)
		k.Read("first page", r, 4095)
		k.Level("page free", w)
		k.Write("partial", w, strings.Repeat("e", 10000))
		k.Read("all", r, 70000)
		k.Write("too long", w, strings.Repeat("f", 100000))
		k.Read("all", r, 100000)
		k.Close(w)
		k.Level("hung up", r)
		k.Read("end", r, 10)
		k.Close(r)
		k.Read("closed", r, 1)
	})
}

func TestPipeWithoutReaderAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
		k.Write("before", w, "x")
		k.Close(r)
		k.Level("w", w)
		k.Write("after", w, "x")
		k.Write("nothing", w, "")
		k.Close(w)
	})
}

func TestPipePacketsAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock|linux.O_DIRECT)
		k.Write("one", w, "one")
		k.Write("two", w, "two")
		k.Write("long", w, strings.Repeat("p", 5000))
		k.Read("first", r, 100)
		k.Read("cut", r, 2)
		k.Read("page", r, 10000)
		k.Read("rest", r, 10000)
		k.Read("none", r, 10000)
		k.Close(r, w)
	})
}

func TestPipeIoctlAndFlagsAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		out := new([2]int32)
		k.Do("bad flags", linux.SYS_PIPE2, systest.Addr(out), 0x1)
		r, w := k.Pair(t, linux.SYS_PIPE2, 0)
		k.Write("seven", w, "1234567")
		n := new(int32)
		k.Do("FIONREAD", linux.SYS_IOCTL, r, linux.FIONREAD, systest.Addr(n))
		k.Note("%d", *n)
		k.Do("F_GETPIPE_SZ", linux.SYS_FCNTL, r, linux.F_GETPIPE_SZ, 0)
		k.Do("F_SETPIPE_SZ", linux.SYS_FCNTL, r, linux.F_SETPIPE_SZ, 10000)
		k.Do("F_GETPIPE_SZ", linux.SYS_FCNTL, w, linux.F_GETPIPE_SZ, 0)
		k.Write("two pages", w, strings.Repeat("x", 8192))
		k.Do("too small", linux.SYS_FCNTL, r, linux.F_SETPIPE_SZ, 4096)
		k.Do("seek", linux.SYS_LSEEK, r, 0, 0)
		k.Do("pread", linux.SYS_PREAD64, r, systest.Addr(new([8]byte)), 8, 0)
		k.Do("truncate", linux.SYS_FTRUNCATE, w, 0)
		k.Close(r, w)
	})
}

// A blocking write returns when all is written, a blocking read when there is data.
func TestPipeBlocksAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, 0)
		data := make([]byte, 300000)
		done := make(chan uintptr)
		go func() {
			n, _ := k.Raw(linux.SYS_WRITE, w, systest.Addr(&data[0]), uintptr(len(data)))
			k.Raw(linux.SYS_CLOSE, w)
			done <- n
		}()
		buf := make([]byte, 50000)
		total := 0
		for {
			n, errno := k.Raw(linux.SYS_READ, r, systest.Addr(&buf[0]), uintptr(len(buf)))
			if errno != 0 || n == 0 {
				break
			}
			total += int(n)
		}
		k.Note("read %d, written %d", total, <-done)
		k.Close(r)
	})
}

func TestPipeReaderWakesAtHangup(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, 0)
		done := make(chan uintptr)
		go func() {
			b := make([]byte, 10)
			n, _ := k.Raw(linux.SYS_READ, r, systest.Addr(&b[0]), 10)
			done <- n
		}()
		time.Sleep(10 * time.Millisecond)
		k.Close(w)
		k.Note("read %d", <-done)
		k.Close(r)
	})
}

func TestFIFOAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		path := []byte(fmt.Sprintf("/tmp/pith-fifo-%s-%d\x00", k.Name, os.Getpid()))
		k.Do("mknod", linux.SYS_MKNOD, systest.Addr(&path[0]), linux.S_IFIFO|0o600, 0)
		defer k.Do("unlink", linux.SYS_UNLINK, systest.Addr(&path[0]))
		k.Do("writer without reader", linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_WRONLY|nonblock)
		r := k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_RDONLY|linux.O_TRUNC|nonblock)
		k.Level("never a writer", r)
		k.Read("never a writer", r, 10)
		w := k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_WRONLY|nonblock)
		k.Read("empty", r, 10)
		k.Write("hello", w, "hello")
		st := new(linux.Stat)
		k.Do("stat", linux.SYS_FSTAT, r, systest.Addr(st))
		k.Note("%#o %d", st.Mode, st.Size)
		k.Close(w)
		k.Level("hung up", r)
		k.Read("hello", r, 10)
		k.Read("end", r, 10)
		k.Close(r)
		r = k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_RDONLY|nonblock)
		w = k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_WRONLY|nonblock)
		late := k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_RDONLY|nonblock)
		k.Close(w)
		k.Level("hung up since", late)
		k.Read("end", late, 10)
		k.Close(r, late)
		both := k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_RDWR)
		k.Write("to itself", both, "echo")
		k.Read("from itself", both, 10)
		k.Level("both", both)
		k.Write("lost", both, "lost")
		k.Close(both)

		opened := make(chan uintptr)
		go func() {
			fd, _ := k.Raw(linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_WRONLY, 0)
			opened <- fd
		}()
		r = k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_RDONLY)
		w = <-opened
		k.Write("met", w, "met")
		k.Read("met", r, 10)
		k.Close(r, w)
	})
}

func TestAPipeCanBeOpenedByItsDescriptor(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, linux.O_NONBLOCK)
		path := []byte("/proc/self/fd/" + strconv.Itoa(int(w)) + "\x00")
		again := k.FD(t, linux.SYS_OPEN, systest.Addr(&path[0]), linux.O_WRONLY)
		k.Write("write", again, "through the link")
		k.Close(w)
		k.Read("read", r, 100)
		k.Read("read while a writer is open", r, 100)
		k.Close(again)
		k.Read("read at the end", r, 100)
		k.Close(r)
	})
}
