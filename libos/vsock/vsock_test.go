package vsock

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// wire is a Link to another network. It has room for a few packets.
type wire struct {
	cid     uint32
	packets chan packet
	full    atomic.Bool
	drops   func(h *Header) bool
}

type packet struct {
	h    Header
	data []byte
}

func (w *wire) CID() uint32  { return w.cid }
func (w *wire) MaxData() int { return 1000 }

func (w *wire) Send(h *Header, fill func(p []byte)) bool {
	p := packet{h: *h, data: make([]byte, h.Len)}
	if h.Len > 0 {
		fill(p.data)
	}
	if w.drops != nil && w.drops(h) {
		return true
	}
	select {
	case w.packets <- p:
		return true
	default:
	}
	w.full.Store(true)
	select { // there may be room by now
	case w.packets <- p:
		return true
	default:
		return false
	}
}

// carry delivers the packets that from sends to to.
func carry(t *testing.T, from, to *Network) {
	w := from.link.(*wire)
	var buf [HeaderSize]byte
	done := make(chan bool)
	go func() {
		defer close(done)
		for p := range w.packets {
			p.h.Put(buf[:])
			h := ParseHeader(buf[:])
			to.Receive(&h, p.data)
			if w.full.CompareAndSwap(true, false) {
				from.Room()
			}
		}
	}()
	t.Cleanup(func() {
		from.Down()
		to.Down()
		close(w.packets)
		<-done
	})
}

const guestCID, hostCID = 5, 2

// pair returns the networks of a VM and its host.
func pair(t *testing.T) (guest, host *Network) {
	guest = NewNetwork(&wire{cid: guestCID, packets: make(chan packet, 3)})
	host = NewNetwork(&wire{cid: hostCID, packets: make(chan packet, 3)})
	carry(t, guest, host)
	carry(t, host, guest)
	return guest, host
}

// block calls do until it does not return EAGAIN.
func block(s socket.Socket, do func() linux.Errno) linux.Errno {
	ready := make(chan bool, 1)
	e := wait.Entry{Notify: func(wait.Events) {
		select {
		case ready <- true:
		default:
		}
	}}
	s.Watch().Register(&e, wait.In|wait.Out|wait.RdHup)
	defer s.Watch().Unregister(&e)
	for {
		if errno := do(); errno != linux.EAGAIN {
			return errno
		}
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			panic("the socket did not become ready in 20 seconds")
		}
	}
}

func connect(s *Socket, to address) linux.Errno {
	if errno := s.Connect(to.sockaddr()); errno != linux.EINPROGRESS {
		return errno
	}
	return block(s, func() linux.Errno {
		if s.Ready()&(wait.Out|wait.Err) == 0 {
			return linux.EAGAIN
		}
		var v [4]byte
		if _, errno := s.Option(linux.SOL_SOCKET, linux.SO_ERROR, v[:]); errno != 0 {
			return errno
		}
		errno, _ := socket.GetInt(v[:])
		return linux.Errno(errno)
	})
}

func listen(t *testing.T, n *Network, port uint32, backlog int) *Socket {
	t.Helper()
	l := n.newSocket()
	if errno := l.Bind(address{linux.VMADDR_CID_ANY, port}.sockaddr()); errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := l.Listen(backlog); errno != 0 {
		t.Fatal(errno.Name())
	}
	return l
}

func accept(t *testing.T, l *Socket) *Socket {
	t.Helper()
	var c socket.Socket
	if errno := block(l, func() (errno linux.Errno) { c, errno = l.Accept(); return errno }); errno != 0 {
		t.Fatal(errno.Name())
	}
	return c.(*Socket)
}

// connection makes a connection between two networks.
func connection(t *testing.T, from, to *Network) (client, server *Socket) {
	t.Helper()
	l := listen(t, to, 1024, 1)
	defer l.Release()
	client = from.newSocket()
	if errno := connect(client, address{to.link.CID(), 1024}); errno != 0 {
		t.Fatal(errno.Name())
	}
	return client, accept(t, l)
}

func read(s *Socket, p []byte) (n int, errno linux.Errno) {
	errno = block(s, func() (errno linux.Errno) { n, errno = s.Read(p); return errno })
	return n, errno
}

func writeAll(s *Socket, p []byte) linux.Errno {
	for len(p) > 0 {
		errno := block(s, func() linux.Errno {
			n, errno := s.Write(p)
			p = p[n:]
			return errno
		})
		if errno != 0 {
			return errno
		}
	}
	return 0
}

func TestConnectionsHaveNames(t *testing.T) {
	guest, host := pair(t)
	c, s := connection(t, guest, host)
	names := func(s *Socket) (local, peer address) {
		a, _ := s.LocalAddr()
		b, errno := s.PeerAddr()
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		local, _ = parse(a)
		peer, _ = parse(b)
		return local, peer
	}
	cl, cp := names(c)
	sl, sp := names(s)
	if cp != (address{hostCID, 1024}) || sl != cp || sp != (address{guestCID, cl.port}) || cl.cid != linux.VMADDR_CID_ANY {
		t.Errorf("client has addresses %v and %v, server %v and %v", cl, cp, sl, sp)
	}
}

func TestBytesArriveInOrderBothWays(t *testing.T) {
	guest, host := pair(t)
	c, s := connection(t, guest, host)
	var done sync.WaitGroup
	for i, d := range []struct{ from, to *Socket }{{c, s}, {s, c}} {
		data := make([]byte, 3<<20)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		done.Go(func() {
			if errno := writeAll(d.from, data); errno != 0 {
				t.Error(errno.Name())
			}
			d.from.Shutdown(linux.SHUT_WR)
		})
		done.Go(func() {
			var got []byte
			for size := 1; ; size = size*3%9973 + 1 {
				p := make([]byte, size*10)
				n, errno := read(d.to, p)
				if errno != 0 {
					t.Error(errno.Name())
				}
				if n == 0 {
					break
				}
				got = append(got, p[:n]...)
			}
			if !bytes.Equal(got, data) {
				t.Errorf("received %d of %d bytes, or the data differ", len(got), len(data))
			}
		})
	}
	done.Wait()
}

func TestAPeerThatDoesNotReadBlocksTheSender(t *testing.T) {
	guest, host := pair(t)
	c, s := connection(t, guest, host)
	sent := 0
	for deadline := time.Now().Add(20 * time.Second); sent < defaultBuffer; {
		n, errno := c.Write(make([]byte, 5000))
		if errno != 0 && errno != linux.EAGAIN || time.Now().After(deadline) {
			t.Fatal(errno.Name())
		}
		sent += n
	}
	if n, errno := c.Write([]byte{1}); errno != linux.EAGAIN {
		t.Errorf("without credit, write returned %d, %s, want EAGAIN", n, errno.Name())
	}
	if c.Ready()&wait.Out != 0 {
		t.Error("the socket is writable without credit")
	}
	for got := 0; got < sent; {
		n, errno := read(s, make([]byte, 8000))
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		got += n
	}
	if errno := writeAll(c, []byte("again")); errno != 0 {
		t.Error(errno.Name())
	}
}

func TestErrorsAreLinuxs(t *testing.T) {
	guest, host := pair(t)
	s := guest.newSocket()
	to := address{hostCID, 99}.sockaddr()
	for _, c := range []struct {
		what      string
		got, want linux.Errno
	}{
		{"short address", s.Bind([]byte{40, 0}), linux.EINVAL},
		{"other family", s.Bind(make([]byte, 16)), linux.EINVAL},
		{"other VM", s.Bind(address{77, 1}.sockaddr()), linux.EADDRNOTAVAIL},
		{"listen unbound", s.Listen(1), linux.EINVAL},
		{"bind", s.Bind(address{guestCID, 2000}.sockaddr()), 0},
		{"bind again", s.Bind(address{guestCID, 2001}.sockaddr()), linux.EINVAL},
		{"port in use", guest.newSocket().Bind(address{linux.VMADDR_CID_ANY, 2000}.sockaddr()), linux.EADDRINUSE},
		{"shutdown", s.Shutdown(linux.SHUT_RDWR), linux.ENOTCONN},
		{"nobody listens", connect(s, address{hostCID, 99}), linux.ECONNRESET},
		{"listen", s.Listen(1), 0},
		{"connect a listener", s.Connect(to), linux.EINVAL},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got.Name(), c.want.Name())
		}
	}
	if _, errno := s.Accept(); errno != linux.EAGAIN {
		t.Errorf("accept without a connection: %s, want EAGAIN", errno.Name())
	}
	if _, errno := guest.newSocket().Read(make([]byte, 1)); errno != linux.ENOTCONN {
		t.Errorf("read of an unconnected socket: %s, want ENOTCONN", errno.Name())
	}
	c, _ := connection(t, guest, host)
	if errno := c.Connect(to); errno != linux.EISCONN {
		t.Errorf("connect of a connected socket: %s, want EISCONN", errno.Name())
	}
	if _, errno := guest.New(linux.SOCK_DGRAM, 0); errno != linux.ENODEV {
		t.Errorf("socket of SOCK_DGRAM: %s, want ENODEV", errno.Name())
	}
}

func TestAConnectWithoutAnswerTimesOut(t *testing.T) {
	guest, _ := pair(t)
	guest.link.(*wire).drops = func(*Header) bool { return true }
	s := guest.newSocket()
	tv := make([]byte, 16)
	socket.Put(tv, linux.Timeval{Usec: 5000})
	if errno := s.SetOption(linux.AF_VSOCK, linux.SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW, tv); errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := connect(s, address{hostCID, 1}); errno != linux.ETIMEDOUT {
		t.Error(errno.Name())
	}
	if len(guest.flows) != 0 {
		t.Error("the failed connection is still in flows")
	}
}

func TestShutdownEndsOneDirection(t *testing.T) {
	guest, host := pair(t)
	c, s := connection(t, guest, host)
	writeAll(c, []byte("last words"))
	c.Shutdown(linux.SHUT_WR)
	if _, errno := c.Write([]byte{1}); errno != linux.EPIPE {
		t.Errorf("write after shutdown: %s, want EPIPE", errno.Name())
	}
	p := make([]byte, 100)
	if n, errno := read(s, p); string(p[:n]) != "last words" || errno != 0 {
		t.Errorf("read %q, %s", p[:n], errno.Name())
	}
	if n, errno := read(s, p); n != 0 || errno != 0 {
		t.Errorf("read at the end: %d, %s, want 0", n, errno.Name())
	}
	if ev := s.Ready(); ev&(wait.In|wait.RdHup|wait.Out) != wait.In|wait.RdHup|wait.Out {
		t.Errorf("Ready is %#x, want In, RdHup and Out", ev)
	}
	if errno := writeAll(s, []byte("answer")); errno != 0 {
		t.Error(errno.Name())
	}
	if n, errno := read(c, p); string(p[:n]) != "answer" || errno != 0 {
		t.Errorf("read %q, %s", p[:n], errno.Name())
	}
}

func TestBothSidesForgetAClosedConnection(t *testing.T) {
	guest, host := pair(t)
	c, s := connection(t, guest, host)
	writeAll(c, []byte("unread"))
	c.Release()
	p := make([]byte, 100)
	if n, errno := read(s, p); string(p[:n]) != "unread" || errno != 0 {
		t.Errorf("read %q, %s", p[:n], errno.Name())
	}
	if n, errno := read(s, p); n != 0 || errno != 0 {
		t.Errorf("read at the end: %d, %s, want 0", n, errno.Name())
	}
	if _, errno := s.Write([]byte{1}); errno != linux.EPIPE {
		t.Errorf("write to a closed connection: %s, want EPIPE", errno.Name())
	}
	s.Release()
	for deadline := time.Now().Add(10 * time.Second); ; {
		guest.mu.Lock()
		left := len(guest.flows) + len(guest.bound)
		guest.mu.Unlock()
		host.mu.Lock()
		left += len(host.flows) + len(host.bound)
		host.mu.Unlock()
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections and ports are left after 10 seconds", left)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAListenerAcceptsUpToItsBacklog(t *testing.T) {
	guest, host := pair(t)
	l := listen(t, guest, 7, 1)
	var clients []*Socket
	for i, want := range []linux.Errno{0, 0, linux.ECONNRESET} {
		c := host.newSocket()
		if errno := connect(c, address{guestCID, 7}); errno != want {
			t.Errorf("connection %d: %s, want %s", i, errno.Name(), want.Name())
		}
		clients = append(clients, c)
	}
	if l.Ready()&wait.In == 0 {
		t.Error("the listener is not readable")
	}
	accept(t, l)
	l.Release()
	if n, errno := read(clients[1], make([]byte, 1)); n != 0 || errno != 0 {
		t.Errorf("reading the connection that was not accepted: %d, %s, want 0 at its end", n, errno.Name())
	}
}

func TestAPeerThatExceedsItsCreditIsReset(t *testing.T) {
	guest, host := pair(t)
	c, s := connection(t, guest, host)
	h := Header{
		SrcCID: hostCID, SrcPort: s.local.port, DstCID: guestCID, DstPort: c.local.port,
		Type: typeStream, Op: opData, Len: 60000,
	}
	for range 5 {
		guest.Receive(&h, make([]byte, h.Len))
	}
	if c.unread > defaultBuffer {
		t.Errorf("the socket buffers %d bytes, more than its limit", c.unread)
	}
	if n, errno := read(s, make([]byte, 1)); n != 0 || errno != 0 {
		t.Errorf("reading at the peer: %d, %s, want 0 at its end", n, errno.Name())
	}
}

func TestALostLinkEndsConnections(t *testing.T) {
	guest, host := pair(t)
	c, _ := connection(t, guest, host)
	guest.Down()
	if _, errno := read(c, make([]byte, 1)); errno != linux.ECONNRESET {
		t.Error(errno.Name())
	}
	if errno := connect(guest.newSocket(), address{hostCID, 1}); errno != linux.ENETUNREACH {
		t.Error(errno.Name())
	}
}

func TestPeekLeavesTheBytes(t *testing.T) {
	guest, host := pair(t)
	c, s := connection(t, guest, host)
	writeAll(c, []byte("hello"))
	read(s, nil)
	p := make([]byte, 3)
	for _, flags := range []int{linux.MSG_PEEK, linux.MSG_PEEK, 0} {
		m := &socket.Message{Data: [][]byte{p}}
		errno := block(s, func() (errno linux.Errno) { _, errno = s.Recv(m, flags); return errno })
		if errno != 0 || string(p) != "hel" {
			t.Errorf("read %q, %s, want %q", p, errno.Name(), "hel")
		}
	}
	if n, _ := s.Read(p); string(p[:n]) != "lo" {
		t.Errorf("read %q after the peeks, want %q", p[:n], "lo")
	}
}

// FuzzPackets lets a peer send arbitrary packets. The data that a socket
// buffers must stay within its credit, and the replies must be bounded.
func FuzzPackets(f *testing.F) {
	f.Add([]byte{1, 0, 5, 10, 5, 20, 4, 3, 3, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		n := NewNetwork(&wire{cid: guestCID, drops: func(*Header) bool { return true }})
		l := listen(t, n, 7, 2)
		c := n.newSocket()
		c.Bind(address{linux.VMADDR_CID_ANY, 9}.sockaddr())
		c.Connect(address{hostCID, 1}.sockaddr())
		var open []*Socket
		for steps := min(len(script), 4000) / 4; steps > 0; steps, script = steps-1, script[4:] {
			h := Header{
				SrcCID: hostCID, SrcPort: uint32(script[0] & 3), DstCID: guestCID, DstPort: []uint32{7, 9, 9, 5}[script[0]>>2&3],
				Type: typeStream, Op: uint16(script[1] % 9), Flags: uint32(script[2]), Len: uint32(script[2]) << 9,
				BufAlloc: uint32(script[3]) << 10, FwdCnt: uint32(script[3]&1) * 0xffffff00,
			}
			if script[0] > 200 {
				h.Type, h.SrcCID = uint16(script[3]), uint64(script[3])<<28
			}
			n.Receive(&h, make([]byte, h.Len))
			switch script[1] >> 4 {
			case 0:
				if s, errno := l.Accept(); errno == 0 {
					open = append(open, s.(*Socket))
				}
			case 1:
				c.Write(make([]byte, 3000))
			case 2:
				c.Read(make([]byte, 3000))
			case 3:
				c.Shutdown(int(script[2] % 3))
			case 4:
				if len(open) > 0 {
					open[0].Release()
					open = open[1:]
				}
			}
			for _, s := range append(open, c) {
				s.Ready()
				if s.unread > defaultBuffer {
					t.Fatalf("the socket buffers %d bytes, more than its limit", s.unread)
				}
			}
			if len(l.pending) > 3 || len(n.owed) > 0 {
				t.Fatalf("%d connections to accept, %d packets wait for room; want at most 3 and none", len(l.pending), len(n.owed))
			}
		}
		for _, s := range append(open, c, l) {
			s.Release()
		}
		n.Down()
		if len(n.flows)+len(n.bound) > 0 {
			t.Fatalf("%d connections and %d ports are left", len(n.flows), len(n.bound))
		}
	})
}
