// Package guest is what the monitors of virtual machines share on the host's
// side: boot parameters, the control channel, and what a VM asks of the host's
// memory. Packages kvm and qemu call it.
package guest

import (
	"context"
	"os"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Control is the host's end of boot.PortControl, a channel of lines both ways.
type Control struct {
	Port  *os.File
	queue chan string
}

// NewControl returns a Control without a Port, which the caller sets.
func NewControl() Control { return Control{queue: make(chan string, 64)} }

// Send sends the image a control message. It does not wait: an image that does
// not read loses messages once the queue is full.
func (c *Control) Send(message string) {
	select {
	case c.queue <- message + "\n":
	default:
	}
}

// Signal sends the program a signal, by way of the image. SIGKILL, SIGSTOP and
// SIGCONT act on the VM's process, by way of process. SIGCONT does both, as
// a program may handle it.
func (c *Control) Signal(sig unix.Signal, process func(unix.Signal)) {
	switch sig {
	case unix.SIGKILL, unix.SIGSTOP:
		process(sig)
		return
	case unix.SIGCONT:
		process(sig)
	}
	c.Send(boot.Signal(sig).String())
}

// Serve writes what is sent, until ctx is done or the VM has ended.
func (c *Control) Serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-c.queue:
			if _, err := c.Port.WriteString(line); err != nil {
				return nil // the VM has ended
			}
		}
	}
}

// Receive answers requests for the time and calls handle with each other
// message, until the VM has ended. It closes Port.
func (c *Control) Receive(handle func(message string)) {
	defer c.Port.Close()
	ReadLines(c.Port, func(line string) {
		if line == boot.TimeRequest {
			c.Send(boot.Time(time.Now().UnixNano()).String())
			return
		}
		handle(line)
	})
}
