package policy_test

import (
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/netns/netnstest"
	"github.com/pith-os/pith/internal/policy"
)

// TestOwnAddressesAreThoseOfTheMoment adds an address to a namespace while its routes are
// open, and removes it.
func TestOwnAddressesAreThoseOfTheMoment(t *testing.T) {
	ns, err := netns.Open(netnstest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	routes, err := policy.OpenRoutes(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer routes.Close()
	ip := func(args ...string) {
		t.Helper()
		out, err := netns.Make(ns, exec.Command("ip", args...).CombinedOutput)
		if err != nil {
			t.Fatalf("ip %v: %v, %s", args, err, out)
		}
	}
	check := func(addr string, want bool) {
		t.Helper()
		got, err := routes.Local(netip.MustParseAddr(addr))
		if got != want || err != nil {
			t.Errorf("%s: local %v, %v, want %v", addr, got, err, want)
		}
	}
	ip("link", "set", "lo", "up")
	check("127.1.2.3", true)
	check("::1", true)
	check("192.0.2.7", false) // no route
	check("2001:db8::7", false)
	ip("addr", "add", "192.0.2.7/32", "dev", "lo")
	ip("-6", "addr", "add", "2001:db8::7/128", "dev", "lo")
	check("192.0.2.7", true)
	// The kernel adds the route to a new IPv6 address a moment later.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if own, err := routes.Local(netip.MustParseAddr("2001:db8::7")); own || err != nil {
			break
		}
	}
	check("2001:db8::7", true)
	check("192.0.2.8", false)
	ip("addr", "del", "192.0.2.7/32", "dev", "lo")
	check("192.0.2.7", false)
	ip("route", "add", "local", "198.51.100.0/24", "dev", "lo")
	check("198.51.100.9", true)
}
