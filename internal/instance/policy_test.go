package instance_test

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/netns/netnstest"
	"github.com/pith-os/pith/internal/network"
	"github.com/pith-os/pith/internal/policy"
)

// serveAll starts servers for TCP and UDP on one port of all addresses of a namespace, and
// returns the port. The UDP server sends back what it gets.
func serveAll(t *testing.T, ns *netns.Namespace) string {
	t.Helper()
	l, err := netns.Make(ns, func() (net.Listener, error) { return net.Listen("tcp", ":8099") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	pc, err := netns.Make(ns, func() (net.PacketConn, error) { return net.ListenPacket("udp", ":8099") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from)
		}
	}()
	return "8099"
}

// TestPolicy runs a program in a namespace that has a metadata service and addresses of its
// own, and compares what it reaches.
func TestPolicy(t *testing.T) {
	ns, err := netns.Open(netnstest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	for _, addr := range []string{"169.254.169.254/32", "192.0.2.1/32", "192.0.2.2/32"} {
		if out, err := netns.Make(ns, exec.Command("ip", "addr", "add", addr, "dev", "lo").CombinedOutput); err != nil {
			t.Fatalf("ip addr add %s: %v, %s", addr, err, out)
		}
	}
	port := serveAll(t, ns)
	allow := func(s string) policy.Rule {
		r, err := policy.ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		r.Allow, r.Name = true, policy.FlagAllow
		return r
	}
	const all = "open open open"
	const closed = "refused refused"
	for _, test := range []struct {
		name string
		o    policy.Options
		open []string // of the addresses below
	}{
		{"--host-loopback", policy.Options{HostLoopback: true}, []string{"10.0.2.2"}},
		{"--metadata", policy.Options{Metadata: true}, []string{"169.254.169.254"}},
		{"one address", policy.Options{Rules: []policy.Rule{allow("192.0.2.1/32:" + port), allow("192.0.2.2/32:9")}}, []string{"192.0.2.1"}},
		{"all addresses", policy.Options{Rules: []policy.Rule{allow("0.0.0.0/0"), allow("::/0")}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, spec func(...string) *instance.Spec) {
				args := []string{"reach"}
				addrs := []string{"10.0.2.2", "169.254.169.254", "192.0.2.1", "192.0.2.2"}
				for _, a := range addrs {
					args = append(args, net.JoinHostPort(a, port))
				}
				s := spec(args...)
				s.Network, s.Namespace = network.User{Policy: test.o}, ns
				if code, err := start(t, s).Wait(); code != 0 || err != nil {
					t.Fatalf("exit code %d, %v, %q", code, err, output(t, s))
				}
				for _, a := range addrs {
					// An unconnected socket gets no error, as on Linux.
					want := fmt.Sprintf("%s:%s %s silent\n", a, port, closed)
					for _, open := range test.open {
						if a == open {
							want = fmt.Sprintf("%s:%s %s\n", a, port, all)
						}
					}
					if got := output(t, s); !strings.Contains(got, want) {
						t.Errorf("%q has no %q", got, want)
					}
				}
			})
		})
	}
}
