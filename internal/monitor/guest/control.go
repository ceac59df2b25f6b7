// Package guest is what the monitors of virtual machines share: the boot
// parameters, the control channel, and published ports that the network's
// gateway serves.
package guest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/pith-os/pith/libos/boot"
)

// Control is the port for lines both ways (boot.PortControl). What is said to an image that does
// not listen is lost once the queue is full.
type Control struct {
	Port  *os.File
	queue chan string
}

// NewControl is a channel of which Port is to be set.
func NewControl() Control { return Control{queue: make(chan string, 64)} }

// Say sends the image a line.
func (c *Control) Say(line string) {
	select {
	case c.queue <- line + "\n":
	default:
	}
}

// Serve writes what is said until ctx is done.
func (c *Control) Serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case line := <-c.queue:
			if _, err := c.Port.WriteString(line); err != nil {
				return // the machine has ended
			}
		}
	}
}

// Hear answers questions for the time and hands other lines on, until the
// machine's end.
func (c *Control) Hear(other func(string)) {
	defer c.Port.Close()
	Lines(c.Port, func(line string) {
		if line == boot.TimeRequest {
			c.Say(boot.Time(time.Now().UnixNano()).String())
			return
		}
		other(line)
	})
}

// MaxLine is the longest line that an image has to say.
const MaxLine = 256

// Lines calls hear for each line, until the end. Lines that are too long and
// one that has no end are left out: the image is not trusted.
func Lines(from io.Reader, hear func(string)) {
	r := bufio.NewReaderSize(from, MaxLine)
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
