package dns

import (
	"fmt"
	"testing"
)

func TestNameServersOfResolvConf(t *testing.T) {
	text := "# comment\nsearch example\nnameserver 127.0.0.53\n  nameserver\t2001:db8::1 \nnameserver fe80::1%eth0\nnameserver bogus\nnameserver"
	got := fmt.Sprint(nameServers([]byte(text)))
	if want := "[127.0.0.53:53 [2001:db8::1]:53 [fe80::1%eth0]:53]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReverseNames(t *testing.T) {
	for name, want := range map[string]string{
		"4.3.2.1.in-addr.arpa": "1.2.3.4",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6.arpa": "2001:db8::1",
		"3.2.1.in-addr.arpa": "",
		"x.ip6.arpa":         "",
		"localhost":          "",
	} {
		got, ok := reverseName(name)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: %v, %v; want %q", name, got, ok, want)
		}
	}
}
