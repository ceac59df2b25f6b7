package inet

import (
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
)

// unplugged is a device that is not connected to a network.
type unplugged struct{ sink }

func (unplugged) Up() bool { return false }

func TestInterfacesShowWhetherTheyAreConnected(t *testing.T) {
	for _, c := range []struct {
		dev   device
		flags uint32
		state byte
	}{
		{sink{make(chan struct{})}, linux.IFF_RUNNING | linux.IFF_LOWER_UP, linux.IF_OPER_UP},
		{unplugged{sink{make(chan struct{})}}, 0, linux.IF_OPER_DOWN},
	} {
		a := configured(t, c.dev, addressTimeout)
		nic := a.stack.NICInfo()[etherNIC]
		flags := nicFlags(&nic)
		if got := flags & (linux.IFF_RUNNING | linux.IFF_LOWER_UP); got != c.flags || flags&linux.IFF_UP == 0 || operState(&nic) != c.state {
			t.Errorf("%T: flags %#x, operational state %d; want flags %#x, state %d", c.dev, flags, operState(&nic), c.flags, c.state)
		}
		c.dev.Close()
	}
}

func TestABadAddressIsReportedWithItsParameter(t *testing.T) {
	for _, c := range []struct {
		net  boot.Net
		want string // part of the error; empty: no error
	}{
		{boot.Net{Addr4: "10.0.2.15/24", Gateway4: "10.0.2.2", Addr6: "fd00::15/64", Gateway6: "fe80::1", DNS: []string{"1.1.1.1", "fd00::3"}}, ""},
		{boot.Net{Addr4: "10.0.2.15/24"}, ""},
		{boot.Net{Addr4: "10.0.2.15"}, "ip4"},
		{boot.Net{Addr4: "fd00::15/64"}, "ip4"},
		{boot.Net{Addr6: "10.0.2.15/24"}, "ip6"},
		{boot.Net{Addr6: "::ffff:10.0.2.15/120"}, "ip6"},
		{boot.Net{Addr4: "10.0.2.15/24", Gateway4: "router"}, "gw4"},
		{boot.Net{Addr6: "fd00::15/64", Gateway6: "fe80::1%eth0"}, "gw6"},
		{boot.Net{Addr4: "10.0.2.15/24", DNS: []string{"one.one.one.one"}}, "dns"},
	} {
		err := checkAddresses(&c.net)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("checkAddresses(%+v) = %v, want an error with %q", c.net, err, c.want)
		}
	}
}
