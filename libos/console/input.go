package console

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// stdin is standard input. The platform can read it, but cannot report whether there is
// input. So when the program asks and there is none, a goroutine reads, and keeps the
// input for the program. It reads only if the program asks.
var stdin input

type input struct {
	queue wait.Queue

	mu      sync.Mutex
	buffer  []byte
	data    []byte      // in buffer: input that the program has not read
	over    bool        // the next read returns the end or errno, once
	errno   linux.Errno // of the last read
	reading bool        // fill is running
}

const bufferSize = 32 << 10

// read takes input; EAGAIN if there is none.
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
		// A terminal continues after its end of input, and so may a file.
		in.over = false
		return 0, in.errno
	}
	in.start()
	return 0, linux.EAGAIN
}

// ready returns the level. If want is set, it begins to read.
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

// start starts fill, unless it is running, with in.mu held and data empty.
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
	// While reading is set, only this goroutine uses buffer.
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

// pending returns the number of bytes that the program has not read.
func (in *input) pending() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.data)
}

// discard drops the input that the program has not read.
func (in *input) discard() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.data = nil
}

// again reports whether to repeat a call of the platform that failed with errno. Other
// processes share the host's descriptor and may have made it non-blocking. The poller
// cannot wait for it, so again sleeps for pollInterval after EAGAIN.
func again(errno linux.Errno) bool {
	if errno == linux.EAGAIN {
		platform.Sleep(pollInterval)
		return true
	}
	return errno == linux.EINTR
}

const pollInterval = 5e6 // ns
