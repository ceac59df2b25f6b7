package apps

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestSQLite(t *testing.T) {
	long(t)
	harness.Serve(t, server("./sql", "-db", "${root}/tmp/accounts.db"), 0, func(t *testing.T, i *harness.Instance) {
		base := "http://" + i.Addr("80")
		transfer := func(from, to string, cents int) string {
			return fmt.Sprintf("%s/transfer?from=%s&to=%s&cents=%d", base, from, to, cents)
		}
		expect(t, "GET", base+"/mode", "", "wal")
		expect(t, "GET", base+"/total", "", "100000")
		expect(t, "POST", transfer("alice", "bob", 40_000), "", "")
		refused(t, "POST", transfer("bob", "carol", 40_001), "CHECK constraint failed")

		// The sum is right in every snapshot, whatever the writers do.
		const writers, each = 4, 20
		var wg sync.WaitGroup
		for n := range writers {
			from, to := "alice", "carol"
			if n%2 == 1 {
				from, to = "bob", "alice"
			}
			wg.Go(func() {
				for range each {
					expect(t, "POST", transfer(from, to, 10), "", "")
				}
			})
			wg.Go(func() {
				for range each {
					expect(t, "GET", base+"/total", "", "100000")
				}
			})
		}
		wg.Wait()
		expect(t, "GET", base+"/journal", "", fmt.Sprint(1+writers*each))
		expect(t, "GET", base+"/window", "", "alice=1 bob=2 carol=3")
		expect(t, "POST", base+"/checkpoint", "", "busy=0")
		expect(t, "GET", base+"/check", "", "ok")
	})
}
