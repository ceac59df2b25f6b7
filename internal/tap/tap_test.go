package tap

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/policy"

	"golang.org/x/sys/unix"
)

var _ link.Network = (*Interface)(nil)

// namespace moves the calling goroutine to a new network namespace for the rest of
// its life.
func namespace(t *testing.T) {
	t.Helper()
	for _, need := range []string{"ip"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("there is no %s: install iproute2", need)
		}
	}
	if err := unix.Access(device, unix.R_OK|unix.W_OK); err != nil {
		t.Skipf("%s: %v", device, err)
	}
	runtime.LockOSThread() // the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("a network namespace needs root: %v", err)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func attach(t *testing.T, name string) *Interface {
	t.Helper()
	i, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() }) // a test may have done so
	return i
}

// guestLink is a link whose guest is the test.
type guestLink struct {
	toGuest chan []byte
	toHost  chan []byte
	closed  chan struct{}
	closes  atomic.Int32
}

func newLink() *guestLink {
	return &guestLink{toGuest: make(chan []byte, 64), toHost: make(chan []byte, 64), closed: make(chan struct{})}
}

func (l *guestLink) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	select {
	case p := <-l.toHost:
		sizes[0] = copy(pkts[0][0], p)
		return 1, nil
	case <-l.closed:
		return 0, io.EOF
	}
}

func (l *guestLink) WritePackets(pkts []link.Packet) error {
	for _, p := range pkts {
		select {
		case l.toGuest <- bytes.Join(p, nil):
		case <-l.closed:
			return io.EOF
		}
	}
	return nil
}

func (l *guestLink) Offload() bool { return true }

func (l *guestLink) Done() <-chan struct{} { return nil }

func (l *guestLink) Close() error {
	if l.closes.Add(1) == 1 {
		close(l.closed)
	}
	return nil
}

// serve calls Serve in a new goroutine. The channel gets its result.
func serve(ctx context.Context, n link.Network, l link.Link) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- n.Serve(ctx, l) }()
	return ended
}

// wiretap returns a packet socket that sends and receives frames on the interface,
// as the host's own stack does.
func wiretap(t *testing.T, name string) int {
	t.Helper()
	const all = 0x0300 // ETH_P_ALL in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// frame returns an Ethernet frame with an EtherType that nothing else uses.
func frame(n int) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x88, 0xb5}, make([]byte, 46)...)
	f[20] = byte(n)
	return f
}

func isOurs(f []byte) bool { return len(f) >= 60 && f[12] == 0x88 && f[13] == 0xb5 }

func (l *guestLink) await(t *testing.T) []byte {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case p := <-l.toGuest:
			if isOurs(p[12:]) {
				return p
			}
		case <-late:
			t.Fatal("the guest receives no frame")
		}
	}
}

func TestFramesGoBothWays(t *testing.T) {
	namespace(t)
	i := attach(t, "pith0")
	if n, err := i.MTU(); n != 1500 || err != nil {
		t.Errorf("an MTU of %d, %v", n, err)
	}
	wire := wiretap(t, "pith0")
	l := newLink()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := serve(ctx, i, l)
	for n := range 100 {
		if _, err := unix.Write(wire, frame(n)); err != nil {
			t.Fatal(err)
		}
		if p := l.await(t); !bytes.Equal(p[12:], frame(n)) {
			t.Fatalf("frame %d came to the guest as % x", n, p)
		}

		for _, wrong := range [][]byte{{}, {1}, make([]byte, 25), append([]byte{1, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0}, frame(0)...)} {
			l.toHost <- wrong // the last one has a malformed header
		}
		l.toHost <- append(make([]byte, 12), frame(100+n)...)
		got := make([]byte, 2000)
		for {
			size, from, err := unix.Recvfrom(wire, got, 0)
			if err != nil {
				t.Fatal(err)
			}
			if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING && isOurs(got[:size]) {
				if !bytes.Equal(got[:size], frame(100+n)) {
					t.Fatalf("frame %d came to the host as % x", n, got[:size])
				}
				break
			}
		}
	}

	// Serve accepts one guest at a time.
	second := newLink()
	if err := i.Serve(ctx, second); err == nil || second.closes.Load() == 0 {
		t.Errorf("Serve accepts a second guest: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if l.closes.Load() == 0 {
		t.Error("Serve has not closed the link")
	}

	// Another guest closes its link.
	l = newLink()
	ended = serve(t.Context(), i, l)
	if _, err := unix.Write(wire, frame(1)); err != nil {
		t.Fatal(err)
	}
	l.await(t)
	_ = l.Close()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestInterfaceIsDeleted(t *testing.T) {
	namespace(t)
	for _, c := range []struct {
		name string
		do   func(l *guestLink)
	}{
		{"while nothing moves", func(*guestLink) {}},
		{"while the guest sends", func(l *guestLink) {
			go func() {
				for {
					select {
					case l.toHost <- append(make([]byte, 12), frame(1)...):
					case <-l.closed:
						return
					}
				}
			}()
		}},
	} {
		i := attach(t, "pith0")
		l := newLink()
		c.do(l)
		ended := serve(t.Context(), i, l)
		wire := wiretap(t, "pith0")
		if _, err := unix.Write(wire, frame(1)); err != nil {
			t.Fatal(err)
		}
		l.await(t)
		ip(t, "link", "del", "pith0")
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "interface pith0: it was deleted") {
			t.Errorf("%s: Serve: %v", c.name, err)
		}
		if l.closes.Load() == 0 {
			t.Errorf("%s: Serve has not closed the link", c.name)
		}
	}
}

func TestInterfaceIsDown(t *testing.T) {
	namespace(t)
	i := attach(t, "pith0")
	l := newLink()
	ended := serve(t.Context(), i, l)
	ip(t, "link", "set", "pith0", "down")
	for range 10 {
		l.toHost <- append(make([]byte, 12), frame(1)...)
	}
	ip(t, "link", "set", "pith0", "up")
	if _, err := unix.Write(wiretap(t, "pith0"), frame(1)); err != nil {
		t.Fatal(err)
	}
	l.await(t)
	_ = l.Close()
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// counter counts the packets that are longer than the MTU.
type counter struct {
	link.Link
	in, out atomic.Int32
}

func (c *counter) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	n, err := c.Link.ReadPackets(pkts, sizes)
	for i := range n {
		if sizes[i] > 2000 {
			c.in.Add(1)
		}
	}
	return n, err
}

func (c *counter) WritePackets(pkts []link.Packet) error {
	for _, p := range pkts {
		if len(p[0]) > 2000 {
			c.out.Add(1)
		}
	}
	return c.Link.WritePackets(pkts)
}

// noOffload is a link that has no offload.
type noOffload struct{ link.Link }

func (noOffload) Offload() bool { return false }

// The host's kernel has a connection through the interface to a gateway, which
// stands for the guest. With offload the connection uses large segments. A rate
// limit changes nothing about that.
func TestConnectionsPassWithTheirOffloads(t *testing.T) {
	for _, c := range []struct {
		name    string
		plain   bool
		rate    uint64 // bytes a second; 0: no limit
		minimum int32
	}{
		{"with offload", false, 0, 1},
		{"without", true, 0, 0},
		{"with offload and a limit", false, 1 << 30, 1},
		{"without, with a limit", true, 1 << 30, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := make(chan net.Listener)
			go func() { // outside of the network namespace
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Error(err)
				}
				server <- l
			}()
			echo := <-server
			defer echo.Close()
			go func() {
				for {
					s, err := echo.Accept()
					if err != nil {
						return
					}
					_, _ = io.Copy(s, s)
					_ = s.Close()
				}
			}()

			namespace(t)
			i := attach(t, "pith0")
			ip(t, "addr", "add", "10.0.2.15/24", "dev", "pith0")
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			var links [2]link.Link
			for n := range links {
				if links[n], err = link.NewSocket(fds[n]); err != nil {
					t.Fatal(err)
				}
			}
			counted := &counter{Link: links[0]}
			ends := []link.Link{counted, links[1]}
			if c.plain {
				ends[0], ends[1] = noOffload{ends[0]}, noOffload{ends[1]}
			}
			gw, err := gateway.New(gateway.Config{Reach: policy.Options{HostLoopback: true}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			served := serve(ctx, link.Limit(i, c.rate), ends[0])
			gone := make(chan error, 1)
			go func() { gone <- gw.Serve(ctx, ends[1]) }()
			defer func() {
				cancel()
				if err := errors.Join(<-served, <-gone, gw.Close()); err != nil {
					t.Error(err)
				}
			}()

			_, port, _ := net.SplitHostPort(echo.Addr().String())
			conn, err := net.DialTimeout("tcp", net.JoinHostPort("10.0.2.2", port), 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			data := make([]byte, 4<<20)
			rand.Read(data)
			go func() {
				_, _ = conn.Write(data) // an error shows in what comes back
				_ = conn.(*net.TCPConn).CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d of %d bytes came back, %v", len(got), len(data), err)
			}
			if in, out := counted.in.Load(), counted.out.Load(); min(in, out) < c.minimum || c.plain && in+out > 0 {
				t.Errorf("%d large segments from the guest, %d to it", in, out)
			}
		})
	}
}

// quiet is a link that signals each frame and allocates nothing.
type quiet struct {
	*guestLink
	send, sent chan struct{}
	out        []byte
}

func (q *quiet) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	select {
	case <-q.send:
		sizes[0] = copy(pkts[0][0], q.out)
		return 1, nil
	case <-q.closed:
		return 0, io.EOF
	}
}

func (q *quiet) WritePackets(pkts []link.Packet) error {
	for _, p := range pkts {
		if isOurs(p[0][12:]) {
			q.sent <- struct{}{}
		}
	}
	return nil
}

func TestPacketsAllocateNothing(t *testing.T) {
	namespace(t)
	i := attach(t, "pith0")
	wire := wiretap(t, "pith0")
	l := &quiet{newLink(), make(chan struct{}), make(chan struct{}, 1), append(make([]byte, 12), frame(1)...)}
	ended := serve(t.Context(), i, l)
	b := frame(2)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := unix.Write(wire, b); err != nil {
			t.Error(err)
		}
		<-l.sent
		l.send <- struct{}{}
	}); n > 0 {
		t.Errorf("%.0f allocations for a packet each way", n)
	}
	_ = l.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	for _, name := range []string{"", "0123456789abcdef", "a/b", "tap%d", ".", "..", "a b", "a\x00b"} {
		if i, err := Open(name); err == nil {
			_ = i.Close()
			t.Errorf("Open accepts the name %q", name)
		}
	}
	namespace(t)
	ip(t, "tuntap", "add", "mine", "mode", "tap")
	ip(t, "tuntap", "add", "other", "mode", "tap", "user", "4711")
	ip(t, "link", "set", "other", "up")
	ip(t, "tuntap", "add", "down", "mode", "tap", "user", "0")
	ip(t, "tuntap", "add", "ip", "mode", "tun")
	ip(t, "tuntap", "add", "many", "mode", "tap", "multi_queue")

	mine := attach(t, "mine")
	for _, c := range []struct{ name, want string }{
		{"mine", "interface mine: another program is attached to it"},
		{"ip", "interface ip: it is not a tap interface"},
		{"many", "interface many: it is not a tap interface"},
		{"lo", "interface lo: it is not a tap interface"},
	} {
		if i, err := Open(c.name); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, i, err)
		}
	}
	if err := mine.Close(); err != nil {
		t.Fatal(err)
	}
	attach(t, "mine") // a persistent interface stays after Close

	dropCapabilities(t)
	for _, c := range []struct{ name, want string }{
		{"none", "interface none: the host has no such interface, and only root may make it: sudo ip tuntap add none mode tap user $USER && sudo ip link set none up"},
		{"other", "interface other: it belongs to another user: sudo ip link del other && sudo ip tuntap add other"},
		{"down", "interface down: it is down: sudo ip link set down up"},
	} {
		if i, err := Open(c.name); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", c.name, i, err)
		}
	}
}

// dropCapabilities drops all capabilities of the calling thread, which is locked,
// except the one to open files of root.
func dropCapabilities(t *testing.T) {
	t.Helper()
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	data[0].Effective = 1 << unix.CAP_DAC_OVERRIDE
	data[0].Permitted = data[0].Effective
	if _, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		t.Fatal(errno)
	}
}

func TestTapIsTheInterfaceUnlessLimited(t *testing.T) {
	namespace(t)
	i := attach(t, "pith0")
	for _, c := range []struct {
		rate uint64
		ok   bool
	}{{0, true}, {1 << 40, false}} {
		file, ok := link.Limit(i, c.rate).Tap()
		if ok != c.ok || ok != (file == i.file && file != nil) {
			t.Errorf("limit %d: Tap returns %v, %t; want a file: %t", c.rate, file, ok, c.ok)
		}
	}
}

func TestPublishedPortsAreRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	(&Interface{}).Accept(l, 80)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept has not closed the listener: %v", err)
	}
}
