package qemu

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/pith-os/pith/internal/monitor"

	"golang.org/x/sys/unix"
)

// streams are the program's standard streams, each a socket to QEMU. This
// process stands between them and the user's files because QEMU would make
// those non-blocking, for everybody who has them.
type streams struct {
	in, out *os.File
	err     *os.File // nil: standard error is the same file as standard output
	text    *os.File // what is said without a driver, to standard error
}

// serve moves bytes until the machine has ended and all it wrote is written;
// ctx is done when it has ended.
func (s *streams) serve(ctx context.Context, c *monitor.Config, log func(string, ...any)) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() {
		defer s.in.Close()
		if err := feed(ctx, s.in, c.Stdin); err != nil {
			log("standard input: %v", err)
		}
		// QEMU forgets what it has not read of a socket that is closed, and
		// not just shut down.
		<-ctx.Done()
	})
	outputs := []struct {
		name string
		to   *os.File
		from []*os.File
	}{{"standard output", c.Stdout, []*os.File{s.out}}, {"standard error", c.Stderr, []*os.File{s.err, s.text}}}
	if s.err == nil {
		outputs = outputs[:1]
		outputs[0].from = append(outputs[0].from, s.text)
	}
	for _, o := range outputs {
		tasks.Go(func() {
			if err := drain(o.to, o.from...); err != nil {
				log("%s: %v", o.name, err)
			}
		})
	}
}

// sameFile says that the program's output and error go to the same place.
func sameFile(a, b *os.File) bool {
	if a == nil || b == nil {
		return a == b
	}
	fa, err1 := a.Stat()
	fb, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(fa, fb)
}

const chunk = 64 << 10

// drain writes to a file (nil: nowhere) what comes from sockets, until all have
// ended, and closes them. Where several have something, the earlier one goes
// first: what a program wrote comes before what its crash says. When writing
// fails the sockets are closed early, so that the program finds out.
func drain(to *os.File, from ...*os.File) error {
	defer func() {
		for _, f := range from {
			f.Close()
		}
	}()
	buf := make([]byte, chunk)
	polls := make([]unix.PollFd, len(from))
	for i, f := range from {
		polls[i] = unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLIN}
	}
	for open := len(from); open > 0; {
		if _, err := unix.Poll(polls, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return os.NewSyscallError("poll", err)
		}
		for i := range polls {
			if polls[i].Revents == 0 {
				continue
			}
			n, err := from[i].Read(buf)
			if n > 0 && to != nil {
				if _, err := to.Write(buf[:n]); err != nil {
					return err
				}
			}
			if err != nil { // the end, or a reset, which is one
				polls[i].Fd = -1 // poll(2) ignores it
				open--
			}
			break
		}
	}
	return nil
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
