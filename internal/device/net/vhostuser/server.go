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

// Server connects a Backend to one front end in another process.
type Server struct {
	file *os.File
	done chan struct{} // closed when the session has ended

	mu     sync.Mutex
	listen *net.UnixListener // nil: the front end is connected from the start
	conn   *net.UnixConn     // nil: the front end has not connected yet
	closed bool
}

// Listen starts a server for b, in a goroutine of its own, that QEMU connects to.
// File is a listening socket without a name. A connected socket would not do: QEMU
// passes descriptors only on sockets that it has connected itself.
func Listen(b Backend) (*Server, error) {
	s, err := listen()
	if err != nil {
		return nil, fmt.Errorf("vhost-user: listen: %w", err)
	}
	s.start(b)
	return s, nil
}

// Connect starts a server for b whose File is a connected socket, for a [Client].
// The caller closes File once the front end's process has it. Only then does the
// server see the front end hang up.
func Connect(b Backend) (*Server, error) {
	theirs, ours, err := connectedPair()
	if err != nil {
		return nil, fmt.Errorf("vhost-user: %w", err)
	}
	s := &Server{file: theirs, conn: ours, done: make(chan struct{})}
	s.start(b)
	return s, nil
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

// unixConn returns the connection of f and closes f, also if it fails.
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

// listen makes the socket in a private directory, which it removes at once.
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

func (s *Server) start(b Backend) {
	go func() {
		defer close(s.done)
		b.End(s.serve(b))
	}()
}

func (s *Server) serve(b Backend) error {
	conn, err := s.connection()
	if err != nil || conn == nil {
		return err
	}
	return newSession(conn, b).serve()
}

// connection waits for the front end. It returns nil if Close is called first.
func (s *Server) connection() (*net.UnixConn, error) {
	if s.listen == nil {
		return s.conn, nil
	}
	conn, err := s.listen.AcceptUnix()
	if errors.Is(err, net.ErrClosed) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("vhost-user: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	if s.closed {
		return nil, conn.Close()
	}
	return conn, s.listen.Close()
}

// File returns the socket for the front end's process. If it comes from Listen and
// is descriptor n there, its path in that process is /proc/self/fd/n.
func (s *Server) File() *os.File { return s.file }

// Close closes the connection, if the front end has not done so, and returns when
// the session has ended. A front end that still runs sees the connection close.
func (s *Server) Close() error {
	err := openStill(s.file.Close())
	s.mu.Lock()
	s.closed = true
	if s.listen != nil {
		err = errors.Join(err, openStill(s.listen.Close()))
	}
	if s.conn != nil {
		err = errors.Join(err, openStill(s.conn.Close()))
	}
	s.mu.Unlock()
	<-s.done
	return err
}

// openStill returns err, or nil if err says that the file was closed before.
func openStill(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
