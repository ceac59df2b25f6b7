package ninep

import (
	"testing"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// onSocket starts a server on a socket, and returns the client's end.
func onSocket(t *testing.T) (fd int, ended chan error) {
	t.Helper()
	s, err := New([]Folder{{Path: t.TempDir()}}, testMessage)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() {
		err := s.Serve(pair[1])
		s.Close()
		unix.Close(pair[1])
		ended <- err
	}()
	return pair[0], ended
}

func TestRequestsOfASocketAreAnsweredInAnyOrder(t *testing.T) {
	fd, ended := onSocket(t)
	send := func(req []byte) {
		if err := unix.Send(fd, req, 0); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, testMessage)
	receive := func() wire.Reader {
		n, err := unix.Read(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		return wire.Reader{B: buf[4:n]}
	}
	send(message(wire.Tversion, wire.NoTag, uint32(testMessage), wire.Version))
	receive()
	send(message(wire.Tattach, 0, 0, uint32(wire.NoFid), "", "", 0))
	receive()
	const n = 100
	for tag := range n {
		send(message(wire.Tgetattr, uint16(tag), 0, uint64(0)))
	}
	seen := map[uint16]bool{}
	for range n {
		r := receive()
		if typ := r.U8(); typ != wire.Tgetattr+1 {
			t.Errorf("a reply has type %d, want Rgetattr", typ)
		}
		seen[r.U16()] = true
	}
	if len(seen) != n {
		t.Errorf("received replies to %d of %d requests", len(seen), n)
	}
	send(make([]byte, 2*testMessage))
	if r := receive(); r.U8() != wire.Rlerror {
		t.Error("a message that is too long is not an error")
	}
	unix.Close(fd)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheServerEndsWithItsClient(t *testing.T) {
	for name, end := range map[string]func(fd int){
		"goes":             func(fd int) {},
		"leaves a request": func(fd int) { _ = unix.Send(fd, message(wire.Tversion, 0, uint32(testMessage), ""), 0) },
		"is shut out":      func(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) },
	} {
		fd, ended := onSocket(t)
		end(fd)
		unix.Close(fd)
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
