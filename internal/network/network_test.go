package network

import (
	"net"
	"testing"
)

func TestAddressAtAnInterfaceIsAlwaysTheSame(t *testing.T) {
	first, err := net.ParseMAC(address("tap0").String())
	if err != nil {
		t.Fatal(err)
	}
	if first[0]&3 != 2 {
		t.Errorf("%s is not a locally administered address of one station", first)
	}
	if again := address("tap0"); again.String() != first.String() {
		t.Errorf("%s and %s", first, again)
	}
	if other := address("tap1"); other.String() == first.String() {
		t.Errorf("two interfaces have %s", other)
	}
}
