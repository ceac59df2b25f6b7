package instance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/link"

	"golang.org/x/sys/unix"
)

// greeter is a link.Network that greets each client in place of a guest.
type greeter struct{ link.Network }

func (greeter) Accept(l net.Listener, port uint16) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "hello from %d", port)
		c.Close()
	}
}

// bound returns a bound socket, which is closed at the end of the test.
func bound(t *testing.T, host string) int {
	t.Helper()
	socket, err := Bind(netip.MustParseAddrPort(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	return socket
}

// published returns the ports of an instance. The network accepts connections for the instance.
func published(t *testing.T, socket int) *ports {
	t.Helper()
	p, err := newPorts(&Launch{Spec: &Spec{Ports: []Port{{Number: 80, Socket: socket}}, Log: t.Logf}})
	if err != nil {
		t.Fatal(err)
	}
	p.network = greeter{}
	t.Cleanup(p.close)
	return p
}

func TestClientsAreRefusedUnlessTheProgramListens(t *testing.T) {
	socket := bound(t, "127.0.0.1:0")
	p, addr := published(t, socket), address(socket)
	for range 3 {
		if c, err := net.Dial("tcp", addr); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("%v, %v", c, err)
		}
		for _, message := range []string{"listen 81", "listen 80", "listen 80"} {
			if done, err := p.handle(message); !done || err != nil {
				t.Fatal(done, err)
			}
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "hello from 80" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		c.Close()
		for range 2 {
			if done, err := p.handle("unlisten 80"); !done || err != nil {
				t.Fatal(done, err)
			}
		}
	}
	if done, err := p.handle("what is this"); done || err != nil {
		t.Error(done, err)
	}
}

func TestSocketThatItsOwnerListensOnIsNeverClosedToClients(t *testing.T) {
	socket := bound(t, "127.0.0.1:0")
	if err := unix.Listen(socket, 8); err != nil {
		t.Fatal(err)
	}
	p := published(t, socket)
	for _, message := range []string{"listen 80", "unlisten 80"} {
		if _, err := p.handle(message); err != nil {
			t.Fatal(err)
		}
	}
	p.close()
	if on, err := listens(socket); !on || err != nil {
		t.Errorf("the socket listens: %v, %v", on, err)
	}
	c, err := net.Dial("tcp", address(socket))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestSocketThatIsNoneIsAnError(t *testing.T) {
	var e *Error
	_, err := newPorts(&Launch{Spec: &Spec{Ports: []Port{{Number: 80, Socket: -1}}}})
	if !errors.As(err, &e) || e.Part != Ports || !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
}

func TestPublishOnAllAddresses(t *testing.T) {
	socket, err := Bind(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	if err := listen(socket, 16); err != nil {
		t.Fatal(err)
	}
	addr, err := netip.ParseAddrPort(address(socket))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestPortThatCannotBePublished(t *testing.T) {
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	mine := netip.MustParseAddrPort(address(bound(t, "127.0.0.1:0")))
	for _, test := range []struct {
		name string
		host netip.AddrPort
		want string
	}{
		{"in use", listening.Addr().(*net.TCPAddr).AddrPort(), "another program uses this port"},
		{"of an instance that does not listen yet", mine, "another program uses this port"},
		{"of another host", netip.MustParseAddrPort("192.0.2.1:4000"), "does not have this address"},
		{"in use, all addresses", netip.AddrPortFrom(netip.Addr{}, mine.Port()), "publish port "},
	} {
		if _, err := Bind(test.host); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
	}
}
