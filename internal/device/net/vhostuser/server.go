package vhostuser

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Front is where the one front end of a back end is, in another process.
type Server struct {
	file *os.File
	done chan struct{} // closed when the back end has ended

	mu     sync.Mutex
	listen *net.UnixListener // nil: there is nothing to wait for
	conn   *net.UnixConn     // nil: there is none yet
	closed bool
}

// Listen starts a back end for dev, in a goroutine of its own, to which QEMU
// connects: File is a listening socket without a name. QEMU takes no connected
// one: of those that it connects itself it knows that they pass descriptors.
func Listen(dev Backend) (*Server, error) {
	f, err := listen()
	if err != nil {
		return nil, fmt.Errorf("vhost-user: listen: %w", err)
	}
	f.start(dev)
	return f, nil
}

// Connect is Listen for a front end that takes a connected socket, as a
// [Client] does. That it has hung up is seen once File is closed here, too.
func Connect(dev Backend) (*Server, error) {
	theirs, ours, err := connectedPair()
	if err != nil {
		return nil, fmt.Errorf("vhost-user: %w", err)
	}
	f := &Server{file: theirs, conn: ours, done: make(chan struct{})}
	f.start(dev)
	return f, nil
}

func connectedPair() (*os.File, *net.UnixConn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[0]), "vhost-user")
	ours, err := unixConn(os.NewFile(uintptr(fds[1]), "vhost-user"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return theirs, ours, nil
}

// unixConn is the connection of f, which it owns, also when it fails.
func unixConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("not a unix socket"), c.Close())
	}
	return conn, nil
}

// listen makes the socket in a folder of the user's own, which goes at once.
func listen() (_ *Server, err error) {
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
	return &Server{file: os.NewFile(uintptr(fd), path), listen: l, done: make(chan struct{})}, nil
}

func (f *Server) start(dev Backend) {
	go func() {
		defer close(f.done)
		dev.End(f.serve(dev))
	}()
}

func (f *Server) serve(dev Backend) error {
	conn, err := f.connection()
	if err != nil || conn == nil {
		return err
	}
	return newSession(conn, dev).serve()
}

// connection waits for the front end; nil: it is waited for no more.
func (f *Server) connection() (*net.UnixConn, error) {
	if f.listen == nil {
		return f.conn, nil
	}
	conn, err := f.listen.AcceptUnix()
	if errors.Is(err, net.ErrClosed) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("vhost-user: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn = conn
	if f.closed {
		return nil, conn.Close()
	}
	return conn, f.listen.Close()
}

// File is the socket, for the front end's process. That of Listen has there, as
// descriptor n, the path /proc/self/fd/n.
func (f *Server) File() *os.File { return f.file }

// Close hangs up, if the front end has not, and returns when the back end has
// ended. A front end that runs sees that its device is gone.
func (f *Server) Close() error {
	err := openStill(f.file.Close())
	f.mu.Lock()
	f.closed = true
	if f.listen != nil {
		err = errors.Join(err, openStill(f.listen.Close()))
	}
	if f.conn != nil {
		err = errors.Join(err, openStill(f.conn.Close()))
	}
	f.mu.Unlock()
	<-f.done
	return err
}

// openStill is the error of a Close that need not be the first.
func openStill(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
