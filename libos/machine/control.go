package machine

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// timeTimeout is how long the start waits for the monitor's clock, in nanoseconds.
const timeTimeout = 30e6

// answerTimeout is how long a request waits for the monitor's answer, in nanoseconds. A
// busy monitor answers late. A monitor that knows no answers never does.
const answerTimeout = 1e9

// control is the control channel between the monitor and the image: lines of text
// (boot.PortControl).
type control struct {
	port  stream
	timed platform.Waiter // woken by the monitor's clock

	requests sync.Mutex // held during a request
	current  atomic.Pointer[string]
	answered platform.Waiter
}

// stream is a port of a console.
type stream interface {
	Read(p []byte) (int, linux.Errno)
	Write(p []byte) (int, linux.Errno)
}

// startControl receives control messages and asks the monitor for the time.
func startControl(port stream) *control {
	c := &control{port: port}
	platform.SetControl(c.request)
	go func() {
		if platform.Config().Clock.Time == 0 {
			c.send(boot.TimeRequest)
		}
		c.receive()
	}()
	return c
}

func (c *control) send(msg string) linux.Errno {
	_, errno := c.port.Write([]byte(msg + "\n"))
	return errno
}

// request sends msg and returns when the monitor has done what msg asks for, or after
// answerTimeout.
func (c *control) request(msg string) linux.Errno {
	c.requests.Lock()
	defer c.requests.Unlock()
	c.current.Store(&msg)
	if errno := c.send(msg); errno != 0 {
		return errno
	}
	timer := platform.AfterFunc(answerTimeout, func() { c.answer(msg) })
	for c.current.Load() != nil {
		c.answered.Wait()
	}
	timer.Stop()
	return 0
}

// answer ends the request msg, if it is the current one.
func (c *control) answer(msg string) {
	if current := c.current.Load(); current != nil && *current == msg && c.current.CompareAndSwap(current, nil) {
		c.answered.Wake()
	}
}

// awaitTime waits until the clock is set, so that it is right when the program starts.
// It waits for timeTimeout at most: the monitor may not answer.
func (c *control) awaitTime() {
	timer := platform.AfterFunc(timeTimeout, c.timed.Wake)
	c.timed.Wait()
	timer.Stop()
}

// receive applies control messages until the channel ends.
func (c *control) receive() {
	var line []byte
	buf := make([]byte, boot.MaxMessage)
	for {
		n, errno := c.port.Read(buf)
		if n == 0 || errno != 0 {
			return
		}
		for _, b := range buf[:n] {
			if b != '\n' {
				line = append(line, b)
				continue
			}
			c.apply(string(line))
			line = line[:0]
		}
		if len(line) > boot.MaxMessage {
			warn("a message of the monitor has no end: control messages are no longer read")
			return
		}
	}
}

func (c *control) apply(line string) {
	command, err := boot.ParseCommand(line)
	if err != nil {
		warn(err.Error())
		return
	}
	switch v := command.(type) {
	case boot.Signal:
		platform.Raise(int(v))
	case boot.Time:
		setWalltime(int64(v))
		c.timed.Wake()
	case boot.Listen:
		c.answer(line)
	case boot.NetworkEnd:
		platform.EndNetwork()
	}
}

var setWalltime = platform.SetWalltime
