package machine

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// timeTimeout is how long the program waits for the monitor's clock, in
// nanoseconds.
const timeTimeout = 30e6

// answerTimeout is how long the program waits until the monitor has done what
// it was asked for, in nanoseconds. One that is busy answers late; one that
// knows no answers, never.
const answerTimeout = 1e9

// control is the channel between the monitor and the image: lines of text
// (boot.PortControl).
type control struct {
	port  stream
	timed platform.Waiter // woken by the monitor's clock

	asking   sync.Mutex // one question at a time
	asked    atomic.Pointer[string]
	answered platform.Waiter
}

// stream is a port of a console.
type stream interface {
	Read(p []byte) (int, linux.Errno)
	Write(p []byte) (int, linux.Errno)
}

// startControl listens to the monitor and asks it for the time.
func startControl(port stream) *control {
	c := &control{port: port}
	platform.SetControl(c.ask)
	go func() {
		if platform.Config().Clock.Time == 0 {
			c.send(boot.TimeRequest)
		}
		c.listen()
	}()
	return c
}

func (c *control) send(msg string) linux.Errno {
	_, errno := c.port.Write([]byte(msg + "\n"))
	return errno
}

// ask says msg and returns when the monitor has done what it says.
func (c *control) ask(msg string) linux.Errno {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.asked.Store(&msg)
	if errno := c.send(msg); errno != 0 {
		return errno
	}
	timer := platform.AfterFunc(answerTimeout, func() { c.answer(msg) })
	for c.asked.Load() != nil {
		c.answered.Wait()
	}
	timer.Stop()
	return 0
}

// answer ends the question msg, if that is what is being asked.
func (c *control) answer(msg string) {
	if asked := c.asked.Load(); asked != nil && *asked == msg && c.asked.CompareAndSwap(asked, nil) {
		c.answered.Wake()
	}
}

// awaitTime waits until the clock was set, so that the program sees it right
// from the start; not for long, as there may be nobody who answers.
func (c *control) awaitTime() {
	timer := platform.AfterFunc(timeTimeout, c.timed.Wake)
	c.timed.Wait()
	timer.Stop()
}

// listen does what the monitor says, until it goes.
func (c *control) listen() {
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
			c.do(string(line))
			line = line[:0]
		}
		if len(line) > boot.MaxMessage {
			say("the monitor's message has no end; no more are read")
			return
		}
	}
}

func (c *control) do(line string) {
	command, err := boot.ParseCommand(line)
	if err != nil {
		say(err.Error())
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
