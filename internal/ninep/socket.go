package ninep

import (
	"errors"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxReaders is how many requests from a socket are handled at once.
const maxReaders = 8

// socket is a SOCK_SEQPACKET socket that a server answers on, a message a
// packet.
type socket struct {
	server *Server
	fd     int

	readers sync.WaitGroup
	mu      sync.Mutex
	started int // readers
	waiting int // of them, for a request
	failed  error
}

// Serve answers what comes on a blocking SOCK_SEQPACKET socket until the other
// side closes it, or this side shuts it down.
//
// A thread waits for the next request itself, and not the runtime's poller for
// it, which saves the client a good part of the time that it waits.
func (s *Server) Serve(fd int) error {
	k := &socket{server: s, fd: fd}
	k.mu.Lock()
	k.start()
	k.mu.Unlock()
	k.readers.Wait()
	return k.failed
}

// start has one more reader wait, with k.mu held.
func (k *socket) start() {
	k.started++
	k.waiting++
	k.readers.Go(k.read)
}

// read handles requests, one after the other. When nobody else waits for the
// next one meanwhile, it starts somebody.
func (k *socket) read() {
	req := make([]byte, k.server.maxMessage+1) // a longer one is seen to be so
	buf := make([]byte, k.server.maxMessage)
	for {
		n, err := k.receive(req)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case n <= 0:
			k.end(err)
			return
		}
		k.mu.Lock()
		if k.waiting--; k.waiting == 0 && k.started < maxReaders {
			k.start()
		}
		k.mu.Unlock()
		k.server.Handle(req[:n], buf, k.send)
		k.mu.Lock()
		k.waiting++
		k.mu.Unlock()
	}
}

// patience is for how long the next request is looked for before a thread
// waits: it comes soon while a client resolves a path, and a CPU that has gone
// idle takes longer to wake up.
const patience = 30 * time.Microsecond

// receive waits for a request.
func (k *socket) receive(req []byte) (int, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(k.fd), uintptr(unsafe.Pointer(unsafe.SliceData(req))), uintptr(len(req)),
			unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
	}
	return unix.Read(k.fd, req)
}

// send sends a reply. When that fails, so does the next read, for the client is
// gone.
func (k *socket) send(reply []byte) {
	for errors.Is(unix.Send(k.fd, reply, unix.MSG_NOSIGNAL), unix.EINTR) {
	}
}

func (k *socket) end(err error) {
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		k.mu.Lock()
		k.failed = err
		k.mu.Unlock()
	}
}
