package guest

import (
	"errors"
	"net"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Published are the ports that the program listens on at the moment.
type Published struct {
	Network link.Network
	open    map[*monitor.Listener]net.Listener
	serving sync.WaitGroup
}

// Listen lets clients of a port in or not.
func (p *Published) Listen(l *monitor.Listener, on bool) error {
	if _, open := p.open[l]; open == on {
		return nil
	}
	if !on {
		err := p.open[l].Close()
		delete(p.open, l)
		return errors.Join(err, l.Listen(false))
	}
	if err := l.Listen(true); err != nil {
		return err
	}
	fd, err := unix.FcntlInt(uintptr(l.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	accept, err := net.FileListener(file) // has a descriptor of its own
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if p.open == nil {
		p.open = make(map[*monitor.Listener]net.Listener)
	}
	p.open[l] = accept
	p.serving.Go(func() { p.Network.Accept(accept, l.Port.Guest) })
	return nil
}

// Obey does what a line of the image's says, as monitor.Obey, and answers that
// it is done.
func (p *Published) Obey(line string, ls []*monitor.Listener, c *Control, log func(string, ...any)) error {
	if err := monitor.Obey(line, ls, p.Listen, log); err != nil {
		return err
	}
	if _, err := boot.ParseListen(line); err == nil {
		c.Say(line)
	}
	return nil
}

// Close ends all; clients are refused by then, or will be.
func (p *Published) Close() {
	for _, l := range p.open {
		l.Close()
	}
	p.serving.Wait()
}
