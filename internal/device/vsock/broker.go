package vsock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The device and its Broker communicate over a SOCK_SEQPACKET socket, one
// message per packet. The device asks for a connection to a port of the host
// with connectMessage. The broker answers in the order of the requests. An
// answer is connectedReply with a connected descriptor (SCM_RIGHTS), or an
// error text without one.
const (
	connectMessage = "connect %d"
	connectedReply = "connected"
	maxMessage     = 256
)

// Broker is the host side of a device, with the right to open paths. It listens
// at a path for connections to the guest. For connections of the guest it
// connects to sockets whose paths are that path, an underscore and the port
// number, and to no others.
type Broker struct {
	// Listener and Device are the arguments for New. The broker closes them in
	// Handed, once the process of the device has them, or in Close.
	Listener, Device *os.File

	path string
	own  fs.FileInfo // the socket file that Listen created
	conn *net.UnixConn
}

// Listen creates the socket at path. It replaces a stale socket, whose listener
// is gone. Any other existing file is an error.
func Listen(path string) (_ *Broker, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("socket %s of the guest: %w", path, err)
		}
	}()
	b := &Broker{path: path}
	if err := b.listen(); err != nil {
		return nil, err
	}
	if err := b.pair(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// backlog is the number of connections that wait until the guest's driver has
// started.
const backlog = 128

func (b *Broker) listen() error {
	// The lock keeps two processes that start at once from removing each other's
	// new socket as stale.
	dir, err := os.Open(filepath.Dir(b.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return os.NewSyscallError("flock", err)
	}
	if err := removeStale(b.path); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	b.Listener = os.NewFile(uintptr(fd), b.path)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: b.path}); err != nil {
		err = os.NewSyscallError("bind", err)
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: a socket's path is at most 107 bytes long", err)
		}
		return errors.Join(err, b.Listener.Close())
	}
	if b.own, err = os.Lstat(b.path); err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	if err != nil {
		return errors.Join(err, b.Listener.Close(), os.Remove(b.path))
	}
	return nil
}

// removeStale removes a socket without a listener.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("a file other than a socket is there")
	}
	fd, err := dial(path)
	switch {
	case err == nil:
		return errors.Join(errInUse, unix.Close(fd))
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, unix.EAGAIN): // the backlog of a listener is full
		return errInUse
	case errors.Is(err, unix.EPROTOTYPE): // the socket is not a stream socket
		return errInUse
	}
	return fmt.Errorf("it exists, and a test whether it is in use failed: %w", err)
}

var errInUse = errors.New("it is in use: another instance or another program listens there")

// dial connects to the socket at path. It does not block.
func dial(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	return fd, nil
}

func (b *Broker) pair() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	b.Device = os.NewFile(uintptr(fds[1]), "broker")
	mine := os.NewFile(uintptr(fds[0]), "broker")
	conn, err := net.FileConn(mine)
	if err := errors.Join(err, mine.Close()); err != nil {
		return err
	}
	b.conn = conn.(*net.UnixConn)
	return nil
}

// Handed closes the files of the device in this process.
func (b *Broker) Handed() error { return errors.Join(b.Listener.Close(), b.Device.Close()) }

// Serve answers the device until the device or the broker is closed.
func (b *Broker) Serve() error {
	p := make([]byte, maxMessage)
	for {
		n, err := b.conn.Read(p)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return fmt.Errorf("sockets of the guest: %w", err)
		}
		if err := b.answer(string(p[:n])); errors.Is(err, unix.EPIPE) || errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return fmt.Errorf("sockets of the guest: %w", err)
		}
	}
}

func (b *Broker) answer(question string) error {
	fd, err := b.connect(question)
	if err != nil {
		text := err.Error()
		_, err := b.conn.Write([]byte(text[:min(len(text), maxMessage)]))
		return err
	}
	_, _, err = b.conn.WriteMsgUnix([]byte(connectedReply), unix.UnixRights(fd), nil)
	return errors.Join(err, unix.Close(fd))
}

// connect opens the connection that the device asks for.
func (b *Broker) connect(question string) (int, error) {
	number, ok := strings.CutPrefix(question, "connect ")
	port, err := strconv.ParseUint(number, 10, 32)
	if !ok || err != nil {
		return -1, fmt.Errorf("%q is not a valid request", question)
	}
	return dial(fmt.Sprintf("%s_%d", b.path, port))
}

// Close ends Serve and removes the socket file, if it is still the one that
// Listen created. Connections that the device already has stay open.
func (b *Broker) Close() error {
	var err error
	closed := func(e error) {
		if !errors.Is(e, os.ErrClosed) && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	if b.conn != nil {
		closed(b.conn.Close())
	}
	for _, f := range []*os.File{b.Listener, b.Device} {
		if f != nil {
			closed(f.Close())
		}
	}
	now, e := os.Lstat(b.path)
	if e == nil && os.SameFile(now, b.own) {
		e = os.Remove(b.path)
	}
	if errors.Is(e, fs.ErrNotExist) {
		e = nil
	}
	return errors.Join(err, e)
}

// descriptor returns the file descriptor in a control message, or -1 if it has
// none.
func descriptor(control []byte) int {
	fd := -1
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return fd
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, one := range fds {
			if fd >= 0 {
				_ = unix.Close(fd) // only one descriptor is expected
			}
			fd = one
		}
	}
	return fd
}
