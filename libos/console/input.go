package console

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// stdin is standard input. The platform can only read it, not tell whether
// there is something; so when the program asks and nothing is there, a
// goroutine reads, and what came is kept for the program. Nothing is read that
// the program did not ask for.
var stdin input

type input struct {
	queue wait.Queue

	mu      sync.Mutex
	buffer  []byte
	data    []byte      // in buffer: what came and was not taken
	over    bool        // end of input or errno, to be told once
	errno   linux.Errno // of the last read
	reading bool        // fill is under way
}

const bufferSize = 32 << 10

// read takes what came; EAGAIN when that is nothing.
func (in *input) read(p []byte) (int, linux.Errno) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case len(p) == 0:
		return 0, 0
	case len(in.data) > 0:
		n := copy(p, in.data)
		in.data = in.data[n:]
		return n, 0
	case in.over:
		// A terminal goes on after its end of input, and so may a file.
		in.over = false
		return 0, in.errno
	}
	in.start()
	return 0, linux.EAGAIN
}

// ready is the level; with want it begins to read.
func (in *input) ready(want bool) wait.Events {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.data) > 0 || in.over {
		return wait.In
	}
	if want {
		in.start()
	}
	return 0
}

// start has a goroutine read, with in.mu held and nothing left to take.
func (in *input) start() {
	if in.reading {
		return
	}
	in.reading = true
	if in.buffer == nil {
		in.buffer = make([]byte, bufferSize)
	}
	go in.fill()
}

func (in *input) fill() {
	// While reading is set nobody else touches buffer.
	n, errno := platform.ConsoleRead(in.buffer)
	for again(errno) {
		n, errno = platform.ConsoleRead(in.buffer)
	}
	in.mu.Lock()
	in.reading = false
	in.data = in.buffer[:n]
	in.over, in.errno = n == 0, errno
	in.mu.Unlock()
	in.queue.Notify(wait.In)
}

// pending is how many bytes came and were not taken.
func (in *input) pending() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.data)
}

// discard drops them.
func (in *input) discard() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.data = nil
}

// again says whether to repeat a call of the platform that failed. The host's
// descriptor is shared, and who else has it may have made it non-blocking; it
// cannot be waited for, so look from time to time.
func again(errno linux.Errno) bool {
	if errno == linux.EAGAIN {
		platform.Sleep(pollInterval)
		return true
	}
	return errno == linux.EINTR
}

const pollInterval = 5e6 // ns
