package inet

import (
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

func TestTimeWaitIsAMinuteUntilThereAreTooMany(t *testing.T) {
	const most, minute = 100, tcp.DefaultTCPTimeWaitTimeout
	w := newTimeWaits(most * memoryPerTimeWait)
	now := time.Unix(1000, 0)
	for i := range most {
		if d := w.add(now); d != minute {
			t.Fatalf("connection %d waits %v", i, d)
		}
		now = now.Add(time.Millisecond)
	}
	if d := w.add(now); d != 0 {
		t.Errorf("one too many waits %v", d)
	}
	now = now.Add(minute - most*time.Millisecond)
	if d := w.add(now); d != minute {
		t.Errorf("when one has been forgotten, the next waits %v", d)
	}
	if d := w.add(now); d != 0 {
		t.Errorf("and the one after it %v", d)
	}
	now = now.Add(time.Hour)
	for i := range most {
		if d := w.add(now); d != minute {
			t.Fatalf("an hour later, connection %d waits %v", i, d)
		}
	}
}

func TestConnectionsInTimeWaitAreBounded(t *testing.T) {
	k := &kernel{t: t, name: "pith", call: sys.Call}
	const connections = 3000
	for range connections {
		c, _ := k.pair()
		k.call(linux.SYS_SHUTDOWN, c, linux.SHUT_WR, 0, 0, 0, 0)
		for _, fd := range k.fds {
			k.call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		}
		k.fds = nil
	}
	waits := 0
	for _, e := range network().RegisteredEndpoints() {
		if ep, ok := e.(*tcp.Endpoint); ok && tcp.EndpointState(ep.State()) == tcp.StateTimeWait {
			waits++
		}
	}
	if waits == 0 {
		t.Error("none waits: this test sees none")
	}
	// Those that are about to end, too.
	if most := len(closed().until); waits > most+most/8 {
		t.Errorf("of %d connections %d wait, %d may", connections, waits, most)
	}
}
