package vhostuser

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Front is where a front end connects, once: a listening socket without a name.
// QEMU takes no connected one: of those that it connects itself it knows that
// they pass descriptors.
type Front struct {
	file   *os.File
	listen *net.UnixListener
	done   chan struct{} // closed when the back end has ended
}

// Attach starts a back end for dev, in a goroutine of its own. It lasts until
// the front end hangs up.
func Attach(dev Device) (*Front, error) {
	f, err := listen()
	if err != nil {
		return nil, fmt.Errorf("vhost-user: listen: %w", err)
	}
	go func() {
		defer close(f.done)
		dev.End(f.serve(dev))
	}()
	return f, nil
}

// listen makes the socket in a folder of the user's own, which goes at once.
func listen() (_ *Front, err error) {
	dir, err := os.MkdirTemp("", "pith-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("open", err), l.Close())
	}
	return &Front{file: os.NewFile(uintptr(fd), path), listen: l, done: make(chan struct{})}, nil
}

func (f *Front) serve(dev Device) error {
	conn, err := f.listen.AcceptUnix()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	if err = errors.Join(err, f.listen.Close()); err != nil {
		return fmt.Errorf("vhost-user: %w", err)
	}
	return newBackend(conn, dev).serve()
}

// File is the socket, for the front end's process. There, as descriptor n, it
// has the path /proc/self/fd/n.
func (f *Front) File() *os.File { return f.file }

// Close ends what no front end connected to, or waits until it has hung up: it
// is for when the front end's process has ended.
func (f *Front) Close() error {
	err := f.file.Close()
	if closeErr := f.listen.Close(); !errors.Is(closeErr, net.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	<-f.done
	return err
}
