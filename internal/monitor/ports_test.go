package monitor

import (
	"net"
	"net/netip"
	"testing"
)

func TestPublishOnAllAddresses(t *testing.T) {
	ls, err := Bind([]Port{{Guest: 80}})
	if err != nil {
		t.Fatal(err)
	}
	defer CloseListeners(ls)
	if err := ls[0].Listen(true); err != nil {
		t.Fatal(err)
	}
	addr, err := netip.ParseAddrPort(ls[0].where())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port()).String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
