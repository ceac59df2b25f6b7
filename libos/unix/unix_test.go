package unix

import (
	"bytes"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// until calls fn at each change of s until it does not return EAGAIN, as
// package sys does for blocking calls.
func until(s *Socket, events wait.Events, fn func() linux.Errno) linux.Errno {
	var w platform.Waiter
	e := wait.Entry{Notify: func(wait.Events) { w.Wake() }}
	s.Queue.Register(&e, events)
	defer s.Queue.Unregister(&e)
	for {
		if errno := fn(); errno != linux.EAGAIN {
			return errno
		}
		w.Wait()
	}
}

func pair(t *testing.T, typ int) (a, b *Socket) {
	t.Helper()
	x, y, errno := newPair(typ, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return x.(*Socket), y.(*Socket)
}

// Both directions of a connection at once, with writes of many sizes and a
// receiver that reads in other sizes.
func TestStreamIsIntactBothWays(t *testing.T) {
	a, b := pair(t, linux.SOCK_STREAM)
	const total = 3 << 20
	var wg sync.WaitGroup
	send := func(s *Socket, salt byte) {
		wg.Go(func() {
			for n := 0; n < total; {
				size := min(n%70001+1, total-n)
				p := make([]byte, size)
				for i := range p {
					p[i] = byte((n+i)>>3) ^ salt
				}
				for len(p) > 0 {
					if errno := until(s, wait.Out, func() linux.Errno {
						c, errno := s.Write(p)
						p = p[c:]
						return errno
					}); errno != 0 {
						t.Error(errno)
						return
					}
				}
				n += size
			}
			s.Shutdown(linux.SHUT_WR)
		})
	}
	recv := func(s *Socket, salt byte) {
		wg.Go(func() {
			buf := make([]byte, 50021)
			for n := 0; ; {
				var c int
				errno := until(s, wait.In, func() (errno linux.Errno) {
					c, errno = s.Read(buf[:n%len(buf)+1])
					return errno
				})
				if errno != 0 || c == 0 {
					if n != total {
						t.Errorf("received %d bytes: errno %d", n, errno)
					}
					return
				}
				for i := range c {
					if buf[i] != byte((n+i)>>3)^salt {
						t.Errorf("byte %d has the wrong value", n+i)
						return
					}
				}
				n += c
			}
		})
	}
	send(a, 1)
	send(b, 2)
	recv(a, 2)
	recv(b, 1)
	wg.Wait()
	if a.unread.Load() != 0 || b.unread.Load() != 0 {
		t.Errorf("%d and %d bytes are still charged after all were read", a.unread.Load(), b.unread.Load())
	}
	a.Release()
	b.Release()
}

// Many senders to one datagram socket that is always full. Each must be woken
// when there is room.
func TestDatagramSendersAreWokenByRoom(t *testing.T) {
	s, errno := create(linux.SOCK_DGRAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if errno := s.autobind(); errno != 0 {
		t.Fatal(errno)
	}
	const senders, each = 8, 200
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			c, _ := create(linux.SOCK_DGRAM, 0)
			defer c.Release()
			if errno := c.Connect(s.localAddr()); errno != 0 {
				t.Error(errno)
			}
			for range each {
				if errno := until(c, wait.Out, func() linux.Errno {
					_, errno := c.Write([]byte{byte(i)})
					return errno
				}); errno != 0 {
					t.Error(errno)
				}
			}
		})
	}
	var got [senders]int
	buf := make([]byte, 8)
	for range senders * each {
		if errno := until(s, wait.In, func() linux.Errno {
			_, errno := s.Read(buf)
			return errno
		}); errno != 0 {
			t.Fatal(errno)
		}
		got[buf[0]]++
	}
	wg.Wait()
	for i, n := range got {
		if n != each {
			t.Errorf("sender %d: received %d messages", i, n)
		}
	}
	s.Release()
}

// Clients connect, send and close, while the listener accepts and then closes.
// There must be no deadlock and no lost wakeup.
func TestConnectionsComeAndGo(t *testing.T) {
	l, _ := create(linux.SOCK_STREAM, 0)
	l.autobind()
	if errno := l.Listen(3); errno != 0 {
		t.Fatal(errno)
	}
	const clients = 50
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c, _ := create(linux.SOCK_STREAM, 0)
			defer c.Release()
			if errno := until(c, wait.Out, func() linux.Errno { return c.Connect(l.localAddr()) }); errno != 0 {
				t.Error(errno)
				return
			}
			c.Write([]byte("hello"))
			until(c, wait.In, func() linux.Errno {
				_, errno := c.Read(make([]byte, 1))
				return errno
			})
		})
	}
	for range clients {
		var conn socket.Socket
		if errno := until(l, wait.In, func() (errno linux.Errno) {
			conn, errno = l.Accept()
			return errno
		}); errno != 0 {
			t.Fatal(errno)
		}
		wg.Go(func() {
			buf := make([]byte, 10)
			var n int
			until(conn.(*Socket), wait.In, func() (errno linux.Errno) {
				n, errno = conn.Read(buf)
				return errno
			})
			if !bytes.Equal(buf[:n], []byte("hello")) {
				t.Errorf("read %q, want %q", buf[:n], "hello")
			}
			conn.Release()
		})
	}
	wg.Wait()
	l.Release()
	if len(names.bound) != 0 {
		t.Errorf("names of closed sockets are left: %v", names.bound)
	}
}

type counted struct {
	file.Base
	released int
}

func (c *counted) Stat(*linux.Stat) linux.Errno { return 0 }
func (c *counted) Release()                     { c.released++ }

// A file in flight is released with the socket that would have received it.
func TestFilesInFlightAreReleased(t *testing.T) {
	var files file.Table
	c := new(counted)
	fd, _ := files.Install(c, 0, false)
	a, b := pair(t, linux.SOCK_STREAM)
	m := &socket.Message{Data: [][]byte{[]byte("x")}, Files: []*file.Open{files.Hold(fd)}}
	if _, errno := a.Send(m, 0); errno != 0 {
		t.Fatal(errno)
	}
	files.Close(fd)
	if c.released != 0 {
		t.Fatal("the file was released in flight")
	}
	b.Release()
	if c.released != 1 {
		t.Fatalf("the file was released %d times, want once", c.released)
	}
	a.Release()
}

// A stream carries files with bytes. Without bytes, no file arrives, and none
// leaks.
func TestFilesWithoutBytesAreReleased(t *testing.T) {
	var files file.Table
	c := new(counted)
	fd, _ := files.Install(c, 0, false)
	a, b := pair(t, linux.SOCK_STREAM)
	m := &socket.Message{Files: []*file.Open{files.Hold(fd)}}
	if n, errno := a.Send(m, 0); n != 0 || errno != 0 {
		t.Fatal(n, errno)
	}
	files.Close(fd)
	if c.released != 1 {
		t.Errorf("the file was released %d times, want once", c.released)
	}
	b.Release()
	a.Release()
}

// Disconnecting a datagram socket empties its queue. A sender that waits for
// room must be woken.
func TestDissolvingWakesSenders(t *testing.T) {
	peer, _ := create(linux.SOCK_DGRAM, 0)
	s, _ := create(linux.SOCK_DGRAM, 0)
	filler, _ := create(linux.SOCK_DGRAM, 0)
	blocked, _ := create(linux.SOCK_DGRAM, 0)
	for _, sock := range []*Socket{peer, s, filler, blocked} {
		if errno := sock.autobind(); errno != 0 {
			t.Fatal(errno)
		}
		defer sock.Release()
	}
	for _, sender := range []*Socket{filler, blocked} {
		if errno := sender.Connect(s.localAddr()); errno != 0 {
			t.Fatal(errno)
		}
	}
	for errno := linux.Errno(0); errno != linux.EAGAIN; {
		if _, errno = filler.Write([]byte("x")); errno != 0 && errno != linux.EAGAIN {
			t.Fatal(errno)
		}
	}
	if _, errno := blocked.Write([]byte("x")); errno != linux.EAGAIN {
		t.Fatal(errno)
	}
	woken := false
	e := &wait.Entry{Notify: func(wait.Events) { woken = true }}
	blocked.Queue.Register(e, wait.Out)
	defer blocked.Queue.Unregister(e)
	if errno := s.Connect(peer.localAddr()); errno != 0 {
		t.Fatal(errno)
	}
	if errno := s.Connect([]byte{linux.AF_UNSPEC, 0}); errno != 0 {
		t.Fatal(errno)
	}
	if !woken {
		t.Error("the sender was not woken")
	}
	if _, errno := blocked.Write([]byte("x")); errno != 0 {
		t.Error(errno)
	}
}
