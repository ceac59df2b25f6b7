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

// streams has the program's standard streams. Each is a socket to QEMU, and this process
// copies between the sockets and the user's files. QEMU cannot get the files themselves: it
// would make them non-blocking for every process that has them open.
type streams struct {
	in, out *os.File
	err     *os.File // nil: standard error is the same file as standard output
}

// serve copies until the VM has ended and all its output is written. The caller cancels ctx
// when the VM has ended.
func (s *streams) serve(ctx context.Context, l *instance.Launch) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() {
		defer s.in.Close()
		if err := feed(ctx, s.in, l.Stdin); err != nil {
			l.Log("standard input: %v", err)
		}
		// Close the socket only at the end. QEMU discards unread data of a closed
		// socket, but not of a socket that is only shut down.
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

// drain copies from a socket to a file until the socket ends, and closes the socket. If the file
// is nil, it discards the data. If a write fails, drain closes the socket early, so that the
// program gets an error.
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
		if err != nil { // the end, or a reset
			return nil
		}
	}
}

// backgroundCheck is the interval at which a background process tries again to read its
// terminal. No event reports that it is in the foreground.
const backgroundCheck = time.Second

// feed copies the program's input to a socket, including the end of the input, until ctx is
// done. A nil input ends at once. feed may read ahead of the program, but it reads nothing after
// the VM has ended.
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
				return nil // the VM has ended
			}
		}
	}
}

// inBackground reports whether f is the terminal of this process, and another process
// group is in its foreground (tcgetpgrp(3)).
func inBackground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}
