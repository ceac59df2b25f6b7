package instance

import (
	"errors"
	"net"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// ports are the published ports of a running instance.
type ports struct {
	list []*port
	// network accepts the connections for the image; nil: the image itself
	// accepts them.
	network link.Network
	serving sync.WaitGroup
	log     func(format string, args ...any)
}

// port is a published port.
type port struct {
	Port
	shared bool // the socket's owner listens, and instances do not change that
	open   bool // the program listens
	accept net.Listener
}

func newPorts(l *Launch) (*ports, error) {
	p := &ports{log: l.Log}
	for _, from := range l.Ports {
		shared, err := listens(from.Socket)
		if err != nil {
			return nil, Errorf(Ports, "port %d: %w", from.Number, err)
		}
		p.list = append(p.list, &port{Port: from, shared: shared})
	}
	return p, nil
}

// handle handles a control message of the image. It reports whether the caller must acknowledge
// the message. It does not trust the image, and only logs unknown messages.
func (p *ports) handle(message string) (done bool, err error) {
	msg, err := boot.ParseListen(message)
	if err != nil {
		p.log("%v", err)
		return false, nil
	}
	for _, q := range p.list {
		if q.Number != msg.Port || q.open == msg.On {
			continue
		}
		if err := p.set(q, msg.On); err != nil {
			return false, err
		}
		state := "closed"
		if msg.On {
			state = "open"
		}
		p.log("port %d of the program, %s on the host, is %s", q.Number, address(q.Socket), state)
	}
	return true, nil
}

// set starts or stops accepting clients of a port.
func (p *ports) set(q *port, on bool) (err error) {
	q.open = on
	switch {
	case on && !q.shared:
		if err := listen(q.Socket); err != nil {
			return err
		}
	case !on:
		if q.accept != nil {
			err = q.accept.Close()
			q.accept = nil
		}
		if !q.shared {
			err = errors.Join(err, unlisten(q.Socket))
		}
		return err
	}
	if p.network == nil {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(q.Socket), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	accept, err := net.FileListener(file) // duplicates the descriptor
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	q.accept = accept
	p.serving.Go(func() { p.network.Accept(accept, q.Number) })
	return nil
}

// close stops accepting. It does not change the sockets.
func (p *ports) close() {
	for _, q := range p.list {
		if q.accept != nil {
			q.accept.Close()
		}
	}
	p.serving.Wait()
}
