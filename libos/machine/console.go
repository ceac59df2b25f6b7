package machine

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/console"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	vconsole "github.com/pith-os/pith/libos/virtio/console"
)

// portTimeout is how long the start waits for a console to name its ports, in
// nanoseconds. Only a console that never names them takes as long.
const portTimeout = 5e9

// streams are the ports of standard input, output and error. nil means no port.
type streams struct{ in, out, err *vconsole.Port }

// startConsole starts the first console. It returns the console's control channel, or
// nil. Without a console the platform's own stays in use.
func startConsole(devices []virtio.Transport) *control {
	if len(devices) == 0 {
		return nil
	}
	c, errno := vconsole.Open(devices[0])
	if errno == 0 {
		c.Resized = func() { platform.Raise(linux.SIGWINCH) }
		errno = c.Start(portTimeout)
	}
	if errno != 0 {
		warn("console " + devices[0].Name() + ": " + errno.Name())
		return nil
	}
	if s := standardPorts(c); s.out != nil {
		platform.SetConsole(s.read, s.write)
		console.Window = func() (cols, rows uint16) { return c.Size(s.out) }
	}
	port := c.Port(boot.PortControl)
	if port == nil {
		return nil
	}
	return startControl(port)
}

// standardPorts returns the ports of the standard streams (see boot.PortStdin).
func standardPorts(c *vconsole.Console) streams {
	terminal := c.Terminal()
	s := streams{c.Port(boot.PortStdin), c.Port(boot.PortStdout), c.Port(boot.PortStderr)}
	if s.in == nil {
		s.in = terminal
	}
	if s.out == nil {
		s.out = terminal
	}
	if s.out == nil {
		s.out = s.err
	}
	if s.err == nil {
		s.err = s.out
	}
	return s
}

func (s *streams) read(p []byte) (int, linux.Errno) {
	if s.in == nil {
		return 0, 0
	}
	return s.in.Read(p)
}

func (s *streams) write(fd int, p []byte) (int, linux.Errno) {
	if fd == 2 {
		return s.err.Write(p)
	}
	return s.out.Write(p)
}
