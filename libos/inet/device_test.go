package inet

import (
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/boot"
)

func TestWrongAddressesAreNamed(t *testing.T) {
	for _, c := range []struct {
		net  boot.Net
		want string // part of the error; empty: none
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
			t.Errorf("%+v: %v, want %q", c.net, err, c.want)
		}
	}
}
