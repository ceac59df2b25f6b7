package ninep

import (
	"errors"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxReaders is how many requests from a socket are handled concurrently.
const maxReaders = 8

// socket is a SOCK_SEQPACKET socket of a server, with one message per packet.
type socket struct {
	server *Server
	fd     int

	readers sync.WaitGroup
	mu      sync.Mutex
	started int // number of readers
	waiting int // number of readers that wait for a request
	failed  error
}

// Serve handles requests from a blocking SOCK_SEQPACKET socket until the other
// side closes it, or this side shuts it down.
//
// A thread itself waits for the next request, not the runtime's poller. That
// saves a good part of the client's waiting time.
func (s *Server) Serve(fd int) error {
	k := &socket{server: s, fd: fd}
	k.mu.Lock()
	k.start()
	k.mu.Unlock()
	k.readers.Wait()
	return k.failed
}

// start starts another reader, with k.mu held.
func (k *socket) start() {
	k.started++
	k.waiting++
	k.readers.Go(k.read)
}

// read handles requests, one after the other. If no other reader waits for the
// next request meanwhile, it starts one.
func (k *socket) read() {
	req := make([]byte, k.server.maxMessage+1) // one byte more, to detect messages that are too long
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

// spinTime is how long a reader polls for the next request before its thread
// blocks. While a client resolves a path, the next request comes soon, and an
// idle CPU takes longer to wake up.
const spinTime = 30 * time.Microsecond

// receive waits for a request.
func (k *socket) receive(req []byte) (int, error) {
	for end := time.Now().Add(spinTime); time.Now().Before(end); runtime.Gosched() {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(k.fd), uintptr(unsafe.Pointer(unsafe.SliceData(req))), uintptr(len(req)),
			unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			return int(n), nil
		}
	}
	return unix.Read(k.fd, req)
}

// send sends a reply. If that fails, the client is gone, and the next read
// fails, too.
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
