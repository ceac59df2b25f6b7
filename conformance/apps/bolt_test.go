package apps

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestBolt(t *testing.T) {
	harness.Serve(t, server("./bolt", "-db", "${root}/tmp/bolt.db"), 0, func(t *testing.T, i *harness.Instance) {
		base := "http://" + i.Addr("80")
		expect(t, "GET", base+"/absent", "", "")
		value := strings.Repeat("large value ", 20_000)
		expect(t, "PUT", base+"/k", value, "")
		expect(t, "GET", base+"/k", "", value)

		// Readers see whole values while a writer changes them.
		var wg sync.WaitGroup
		for n := range 4 {
			wg.Go(func() {
				for range 25 {
					got, err := request("GET", base+"/k", "")
					if err != nil || len(got) != len(value) || strings.Trim(got, got[:1]) != "" && got != value {
						t.Errorf("reader %d: %d bytes, %v", n, len(got), err)
					}
				}
			})
		}
		for n := range 25 {
			if _, err := request("PUT", base+"/k", strings.Repeat(fmt.Sprint(n%10), len(value))); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()

		refused(t, "POST", base+"/fill/5000?fail", "rolled back")
		expect(t, "GET", base+"/fill-000000", "", "")
		expect(t, "POST", base+"/fill/20000", "", "") // grows the file and its mapping
		stats, err := request("GET", base+"/stats/all", "")
		if err != nil || !strings.HasPrefix(stats, "keys=20001 size=") {
			t.Errorf("stats: %q, %v", stats, err)
		}
		refused(t, "POST", base+"/lock/try", "timeout")
	})
}
