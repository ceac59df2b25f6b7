// Package guest is the common part of the monitors that run virtual machines. It has the boot
// parameters, the host's end of the control channel, and checks of the VM's memory. Packages
// kvm and qemu call it.
package guest

import (
	"context"
	"os"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Control is the host's end of boot.PortControl. Each message is a line.
type Control struct {
	Port  *os.File
	queue chan string
}

// NewControl returns a Control without a Port, which the caller sets.
func NewControl() Control { return Control{queue: make(chan string, 64)} }

// Send sends the image a control message. It does not block. If the image does not read, the
// queue fills up and Send drops further messages.
func (c *Control) Send(message string) {
	select {
	case c.queue <- message + "\n":
	default:
	}
}

// Signal sends a signal to the program through the image. For SIGKILL and SIGSTOP it calls
// process instead, which signals the VM's process. For SIGCONT it does both, because a program
// may handle SIGCONT.
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

// Serve writes queued messages to the image until ctx is done or the VM has ended.
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

// Receive reads messages until the VM has ended. It answers requests for the time, and calls
// handle with every other message. At the end it closes Port.
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
