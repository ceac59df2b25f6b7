package inet

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"golang.org/x/sys/unix"
)

func TestConnectionsEndWithTheDevice(t *testing.T) {
	a, b := wire(t)
	l, err := gonet.ListenTCP(b.Stack, full(b.addr4, 80), ipv4.ProtocolNumber)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	dial := func() net.Conn {
		t.Helper()
		c, err := gonet.DialContextTCP(ctx, a.Stack, full(b.addr4, 80), ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	type end struct {
		what string
		err  error
	}
	ended := make(chan end)
	reader, writer := dial(), dial()
	go func() {
		_, err := reader.Read(make([]byte, 1))
		ended <- end{"a read", err}
	}()
	go func() {
		var err error
		for err == nil { // nobody reads the data
			_, err = writer.Write(make([]byte, 1<<20))
		}
		ended <- end{"a write", err}
	}()
	go func() { // no host has this address
		_, err := gonet.DialContextTCP(ctx, a.Stack, full("10.0.2.99", 80), ipv4.ProtocolNumber)
		ended <- end{"a connect", err}
	}()
	connecting := func() bool {
		return slices.ContainsFunc(a.RegisteredEndpoints(), func(ep stack.TransportEndpoint) bool {
			e, ok := ep.(*tcp.Endpoint)
			return ok && e.EndpointState() == tcp.StateSynSent
		})
	}
	for !connecting() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}

	if err := unix.Shutdown(a.fd, unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for range 3 {
		e := <-ended
		if e.err == nil || ctx.Err() != nil {
			t.Errorf("%s ended with error %v after %v, want an error at once", e.what, e.err, time.Since(begin))
		}
	}
	if _, err := gonet.DialContextTCP(ctx, a.Stack, full(b.addr4, 80), ipv4.ProtocolNumber); err == nil || ctx.Err() != nil {
		t.Errorf("dialling after the device ended: error %v, want one at once", err)
	}
}

// unplugInstance ends the device of the sockets under test.
func unplugInstance(t *testing.T) {
	t.Helper()
	l := newLink(sink{}, "\x02\x00\x00\x00\x00\x01", 1500, true)
	close(l.done)
	before := plugged.Swap(l)
	t.Cleanup(func() { plugged.Store(before) })
	unplug(network(), l)
}

func TestSocketsReportTheDevicesEndOnce(t *testing.T) {
	k := &kernel{t: t, name: "pith", call: sys.Call}
	defer func() {
		for _, fd := range k.fds {
			k.call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		}
	}()
	any4, local := inet4(0, 0, 0, 0, 0), inet4(127, 0, 0, 1, 0)
	everywhere, _ := k.listener(any4)
	here, _ := k.listener(local)
	client, server := k.pair()
	datagrams := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
	k.bind("bind", datagrams, any4)
	datagramsHere := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
	k.bind("bind", datagramsHere, local)
	for _, fd := range k.fds {
		k.call(linux.SYS_FCNTL, fd, linux.F_SETFL, linux.O_NONBLOCK, 0, 0, 0)
	}
	blocked := make(chan linux.Errno)
	waiting := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
	k.bind("bind", waiting, any4)
	b := k.bytes(make([]byte, 16))
	go func() {
		_, errno := k.call(linux.SYS_READ, waiting, b, 16, 0, 0, 0)
		blocked <- errno
	}()

	unplugInstance(t)
	for _, c := range []struct {
		what  string
		num   int
		fd    uintptr
		first linux.Errno
	}{
		{"accept at all addresses", linux.SYS_ACCEPT4, everywhere, linux.ENETDOWN},
		{"accept at the loopback address", linux.SYS_ACCEPT4, here, linux.EAGAIN},
		{"read datagrams", linux.SYS_READ, datagrams, linux.ENETDOWN},
		{"read datagrams at the loopback address", linux.SYS_READ, datagramsHere, linux.EAGAIN},
		{"read of a connection at the loopback address", linux.SYS_READ, client, linux.EAGAIN},
		{"and at its other end", linux.SYS_READ, server, linux.EAGAIN},
	} {
		args := [3]uintptr{}
		if c.num == linux.SYS_READ {
			args = [3]uintptr{b, 16}
		}
		for _, want := range []linux.Errno{c.first, linux.EAGAIN} {
			if _, errno := k.call(uintptr(c.num), c.fd, args[0], args[1], args[2], 0, 0); errno != want {
				t.Errorf("%s: errno %v, want %v", c.what, errno, want)
			}
		}
	}
	if errno := <-blocked; errno != linux.ENETDOWN {
		t.Errorf("a read that was waiting returned errno %v, want ENETDOWN", errno)
	}
}

func TestPollReportsTheDevicesEnd(t *testing.T) {
	const tErr = int16(0x8)
	k := &kernel{t: t, name: "pith", call: sys.Call}
	s := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
	defer k.call(linux.SYS_CLOSE, s, 0, 0, 0, 0, 0)
	k.bind("bind", s, inet4(0, 0, 0, 0, 0))
	k.log = nil
	unplugInstance(t)
	k.poll("poll", s, tErr)
	k.get("SO_ERROR", s, linux.SOL_SOCKET, linux.SO_ERROR, 4)
	k.poll("poll again", s, tOut)
	k.get("SO_ERROR again", s, linux.SOL_SOCKET, linux.SO_ERROR, 4)
	want := []string{"poll: poll = 1 0xd 0", "get SO_ERROR = 64000000", "poll again: poll = 1 0x4 0", "get SO_ERROR again = 00000000"}
	if !slices.Equal(k.log, want) {
		t.Errorf("log is %q, want %q", k.log, want)
	}
}
