package qemu

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// control is the port for lines both ways. What is said to an image that does
// not listen is lost once the queue is full.
type control struct {
	port  *os.File
	queue chan string
}

func newControl() control { return control{queue: make(chan string, 64)} }

// say sends the image a line.
func (c *control) say(line string) {
	select {
	case c.queue <- line + "\n":
	default:
	}
}

// serve writes what is said until ctx is done.
func (c *control) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-c.queue:
			if _, err := c.port.WriteString(line); err != nil {
				return // QEMU has ended
			}
		}
	}
}

// hear answers questions for the time and hands other lines on, until QEMU's
// end.
func (c *control) hear(other func(string)) {
	defer c.port.Close()
	lines(c.port, func(line string) {
		if line == boot.TimeRequest {
			c.say(boot.Time(time.Now().UnixNano()).String())
			return
		}
		other(line)
	})
}

// noExit is the exit code of a machine that said none.
const noExit = -1

// lastExit reads a debug port until QEMU's end and returns the exit code that
// it said last.
func lastExit(debug *os.File) int {
	defer debug.Close()
	exit := noExit
	lines(debug, func(line string) {
		if e, err := boot.ParseMachineExit(line); err == nil {
			exit = int(e)
		}
	})
	return exit
}

// maxLine is the longest line that an image has to say.
const maxLine = 256

// lines calls hear for each line, until the end. Lines that are too long and
// one that has no end are left out: the image is not trusted.
func lines(from io.Reader, hear func(string)) {
	r := bufio.NewReaderSize(from, maxLine)
	whole := true
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err == nil && whole:
			hear(string(line[:len(line)-1]))
		case err == nil:
			whole = true
		case errors.Is(err, bufio.ErrBufferFull):
			whole = false
		default:
			return
		}
	}
}

// published are the ports that the program listens on at the moment.
type published struct {
	network monitor.Network
	open    map[*monitor.Listener]net.Listener
	serving sync.WaitGroup
}

// listen lets clients of a port in or not.
func (p *published) listen(l *monitor.Listener, on bool) error {
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
	p.serving.Go(func() { p.network.Accept(accept, l.Port.Guest) })
	return nil
}

// close ends all; clients are refused by then, or will be.
func (p *published) close() {
	for _, l := range p.open {
		l.Close()
	}
	p.serving.Wait()
}
