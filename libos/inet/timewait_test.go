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
			t.Fatalf("connection %d stays in TIME-WAIT for %v, want a minute", i, d)
		}
		now = now.Add(time.Millisecond)
	}
	if d := w.add(now); d != 0 {
		t.Errorf("a connection beyond the bound stays in TIME-WAIT for %v, want 0", d)
	}
	now = now.Add(minute - most*time.Millisecond)
	if d := w.add(now); d != minute {
		t.Errorf("after one TIME-WAIT ended, the next connection stays for %v, want a minute", d)
	}
	if d := w.add(now); d != 0 {
		t.Errorf("the connection after that stays in TIME-WAIT for %v, want 0", d)
	}
	now = now.Add(time.Hour)
	for i := range most {
		if d := w.add(now); d != minute {
			t.Fatalf("an hour later, connection %d stays in TIME-WAIT for %v, want a minute", i, d)
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
		t.Error("no connection is in TIME-WAIT, so the test checks nothing")
	}
	// Connections that are about to end may count, too.
	if most := len(closed().until); waits > most+most/8 {
		t.Errorf("of %d connections, %d are in TIME-WAIT; at most %d may be", connections, waits, most)
	}
}
