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
	mu      sync.Mutex // guards the fields of the ports in list
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
	backlog := -1
	if msg.On {
		backlog = unix.SOMAXCONN
	}
	return true, p.listen(msg.Port, backlog)
}

// listen starts to accept the clients of a published port, up to backlog of whom may wait, or
// stops (-1). It is not an error if the image is not allowed the port: nothing happens.
func (p *ports) listen(number uint16, backlog int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.list {
		if q.Number != number {
			continue
		}
		if err := p.set(q, backlog); err != nil {
			return err
		}
	}
	return nil
}

// set does the work of listen for a port, with p.mu held.
func (p *ports) set(q *port, backlog int) (err error) {
	on, before := backlog >= 0, q.open
	if !on && !before {
		return nil
	}
	q.open = on
	if on != before {
		state := "closed"
		if on {
			state = "open"
		}
		p.log("port %d of the program, %s on the host, is %s", q.Number, address(q.Socket), state)
	}
	switch {
	case on && !q.shared:
		if err := listen(q.Socket, backlog); err != nil {
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
	if p.network == nil || before {
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
	p.mu.Lock()
	for _, q := range p.list {
		if q.accept != nil {
			q.accept.Close()
		}
	}
	p.mu.Unlock()
	p.serving.Wait()
}
