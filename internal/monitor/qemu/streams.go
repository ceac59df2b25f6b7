package qemu

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/pith-os/pith/internal/instance"

	"golang.org/x/sys/unix"
)

// streams are the program's standard streams, each a socket to QEMU. This
// process stands between them and the user's files because QEMU would make
// those non-blocking, for everybody who has them.
type streams struct {
	in, out *os.File
	err     *os.File // nil: standard error is the same file as standard output
}

// serve moves bytes until the machine has ended and all it wrote is written;
// ctx is done when it has ended.
func (s *streams) serve(ctx context.Context, l *instance.Launch) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() {
		defer s.in.Close()
		if err := feed(ctx, s.in, l.Stdin); err != nil {
			l.Log("standard input: %v", err)
		}
		// QEMU forgets what it has not read of a socket that is closed, and
		// not just shut down.
		<-ctx.Done()
	})
	tasks.Go(func() {
		if err := drain(l.Stdout, s.out); err != nil {
			l.Log("standard output: %v", err)
		}
	})
	if s.err != nil {
		tasks.Go(func() {
			if err := drain(l.Stderr, s.err); err != nil {
				l.Log("standard error: %v", err)
			}
		})
	}
}

const chunk = 64 << 10

// drain writes to a file (nil: nowhere) what comes from a socket, until that has
// ended, and closes it. When writing fails it is closed early, so that the
// program finds out.
func drain(to, from *os.File) error {
	defer from.Close()
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 && to != nil {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil { // the end, or a reset, which is one
			return nil
		}
	}
}

// backgroundCheck is how often a process in the background looks whether it
// may read its terminal by now; nothing tells it.
const backgroundCheck = time.Second

// feed writes the program's input to a socket, and its end (nil: at once),
// until ctx is done. What is read is for the program: nothing is read when the
// machine has ended, but before that it may be ahead of the program.
func feed(ctx context.Context, to *os.File, in *os.File) error {
	defer unix.Shutdown(int(to.Fd()), unix.SHUT_WR)
	if in == nil {
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer func() {
		if stop() {
			w.Close()
		}
	}()
	ended := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
	either := append(ended, unix.PollFd{Fd: int32(in.Fd()), Events: unix.POLLIN})
	buf := make([]byte, chunk)
	for {
		_, err := unix.Poll(either, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("poll", err)
		}
		if either[0].Revents != 0 {
			return nil
		}
		n, err := unix.Read(int(in.Fd()), buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.EIO) && inBackground(in):
			if _, err := unix.Poll(ended, int(backgroundCheck.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
				return os.NewSyscallError("poll", err)
			}
		case err != nil:
			return os.NewSyscallError("read", err)
		case n == 0:
			return nil
		default:
			if _, err := to.Write(buf[:n]); err != nil {
				return nil // the machine has ended
			}
		}
	}
}

// inBackground says that f is this process's terminal and somebody else's turn
// (tcgetpgrp(3)).
func inBackground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}
