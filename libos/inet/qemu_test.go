package inet

import (
	"slices"
	"testing"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/qemutest"
)

// TestQEMUsNetwork configures the stack from QEMU's user network over QEMU's
// virtio-net device, and uses connections. It runs without offloads, with and
// without mergeable buffers.
func TestQEMUsNetwork(t *testing.T) {
	for name, option := range map[string]string{"mergeable buffers": "", "whole buffers": ",mrg_rxbuf=off", "no event index": ",event_idx=off"} {
		t.Run(name, func(t *testing.T) {
			m := qemutest.Start(t, "-netdev", "user,id=n", "-device", "virtio-net-device,netdev=n,mac=52:54:00:12:34:56"+option)
			l, errno := openVirtio(m.Device(virtio.IDNet), new(boot.Net))
			if errno != 0 {
				t.Fatal(errno.Name())
			}
			a := newAutoconf(l, addressTimeout)
			defer a.stack.Close()
			opens(t, "IPv4", &a.ready4)
			opens(t, "IPv6", &a.ready6)
			want := []string{"10.0.2.15/24", "fe80::5054:ff:fe12:3456/64", "fec0::5054:ff:fe12:3456/64"}
			if got := addressesOf(a); !slices.Equal(got, want) {
				t.Errorf("addresses %v, want %v", got, want)
			}
			if servers := a.servers(); len(servers) == 0 || servers[0].String() != "10.0.2.3" {
				t.Errorf("name servers are %v, want 10.0.2.3 first", servers)
			}
			throughGateway(t, a)
		})
	}
}
