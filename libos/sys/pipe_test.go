package sys

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
)

const nonblock = linux.O_NONBLOCK

func TestPipeAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
		k.read("empty", r, 10)
		k.level("r", r)
		k.level("w", w)
		k.write("write", w, "hello")
		k.write("merge", w, " world")
		k.read("part", r, 3)
		k.read("rest", r, 100)
		k.read("wrong end", w, 1)
		k.write("wrong end", r, "x")
		k.write("nothing", w, "")
		k.read("nothing", r, 0)
		// Fill it, page by page and past the end.
		k.write("61440", w, strings.Repeat("a", 61440))
		k.level("one page left", w)
		k.write("100", w, strings.Repeat("b", 100))
		k.level("none left", w)
		k.write("atomic", w, strings.Repeat("c", 4096))
		k.write("merges still", w, strings.Repeat("d", 3000))
		k.write("does not", w, strings.Repeat("d", 3000))
		k.read("one byte", r, 1)
		k.level("page not free", w)
		k.read("first page", r, 4095)
		k.level("page free", w)
		k.write("partial", w, strings.Repeat("e", 10000))
		k.read("all", r, 70000)
		k.write("too long", w, strings.Repeat("f", 100000))
		k.read("all", r, 100000)
		k.close(w)
		k.level("hung up", r)
		k.read("end", r, 10)
		k.close(r)
		k.read("closed", r, 1)
	})
}

func TestPipeWithoutReaderAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
		k.write("before", w, "x")
		k.close(r)
		k.level("w", w)
		k.write("after", w, "x")
		k.write("nothing", w, "")
		k.close(w)
	})
}

func TestPipePacketsAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock|linux.O_DIRECT)
		k.write("one", w, "one")
		k.write("two", w, "two")
		k.write("long", w, strings.Repeat("p", 5000))
		k.read("first", r, 100)
		k.read("cut", r, 2)
		k.read("page", r, 10000)
		k.read("rest", r, 10000)
		k.read("none", r, 10000)
		k.close(r, w)
	})
}

func TestPipeIoctlAndFlagsAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		out := new([2]int32)
		k.do("bad flags", linux.SYS_PIPE2, addr(out), 0x1)
		r, w := k.pair(t, linux.SYS_PIPE2, 0)
		k.write("seven", w, "1234567")
		n := new(int32)
		k.do("FIONREAD", linux.SYS_IOCTL, r, linux.FIONREAD, addr(n))
		k.note("%d", *n)
		k.do("F_GETPIPE_SZ", linux.SYS_FCNTL, r, linux.F_GETPIPE_SZ, 0)
		k.do("F_SETPIPE_SZ", linux.SYS_FCNTL, r, linux.F_SETPIPE_SZ, 10000)
		k.do("F_GETPIPE_SZ", linux.SYS_FCNTL, w, linux.F_GETPIPE_SZ, 0)
		k.write("two pages", w, strings.Repeat("x", 8192))
		k.do("too small", linux.SYS_FCNTL, r, linux.F_SETPIPE_SZ, 4096)
		k.do("seek", linux.SYS_LSEEK, r, 0, 0)
		k.do("pread", linux.SYS_PREAD64, r, addr(new([8]byte)), 8, 0)
		k.do("truncate", linux.SYS_FTRUNCATE, w, 0)
		k.close(r, w)
	})
}

// A blocking write returns when all is written; a blocking read when there is
// something.
func TestPipeBlocksAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, 0)
		data := make([]byte, 300000)
		done := make(chan uintptr)
		go func() {
			n, _ := k.raw(linux.SYS_WRITE, w, addr(&data[0]), uintptr(len(data)))
			k.raw(linux.SYS_CLOSE, w)
			done <- n
		}()
		buf := make([]byte, 50000)
		total := 0
		for {
			n, errno := k.raw(linux.SYS_READ, r, addr(&buf[0]), uintptr(len(buf)))
			if errno != 0 || n == 0 {
				break
			}
			total += int(n)
		}
		k.note("read %d, written %d", total, <-done)
		k.close(r)
	})
}

func TestPipeReaderWakesAtHangup(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, 0)
		done := make(chan uintptr)
		go func() {
			b := make([]byte, 10)
			n, _ := k.raw(linux.SYS_READ, r, addr(&b[0]), 10)
			done <- n
		}()
		time.Sleep(10 * time.Millisecond)
		k.close(w)
		k.note("read %d", <-done)
		k.close(r)
	})
}

func TestFIFOAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		path := []byte(fmt.Sprintf("/tmp/pith-fifo-%s-%d\x00", k.name, os.Getpid()))
		k.do("mknod", linux.SYS_MKNOD, addr(&path[0]), linux.S_IFIFO|0o600, 0)
		defer k.do("unlink", linux.SYS_UNLINK, addr(&path[0]))
		k.do("writer without reader", linux.SYS_OPEN, addr(&path[0]), linux.O_WRONLY|nonblock)
		r := k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_RDONLY|linux.O_TRUNC|nonblock)
		k.level("never a writer", r)
		k.read("never a writer", r, 10)
		w := k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_WRONLY|nonblock)
		k.read("empty", r, 10)
		k.write("hello", w, "hello")
		st := new(linux.Stat)
		k.do("stat", linux.SYS_FSTAT, r, addr(st))
		k.note("%#o %d", st.Mode, st.Size)
		k.close(w)
		k.level("hung up", r)
		k.read("hello", r, 10)
		k.read("end", r, 10)
		k.close(r)
		r = k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_RDONLY|nonblock)
		w = k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_WRONLY|nonblock)
		late := k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_RDONLY|nonblock)
		k.close(w)
		k.level("hung up since", late)
		k.read("end", late, 10)
		k.close(r, late)
		both := k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_RDWR)
		k.write("to itself", both, "echo")
		k.read("from itself", both, 10)
		k.level("both", both)
		k.write("lost", both, "lost")
		k.close(both)

		opened := make(chan uintptr)
		go func() {
			fd, _ := k.raw(linux.SYS_OPEN, addr(&path[0]), linux.O_WRONLY, 0)
			opened <- fd
		}()
		r = k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_RDONLY)
		w = <-opened
		k.write("met", w, "met")
		k.read("met", r, 10)
		k.close(r, w)
	})
}
