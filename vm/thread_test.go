//go:build pith

package runtime

import (
	"slices"
	"testing"
)

// Threads that yield take turns, first come, first served.
func TestRunQueueIsFirstComeFirstServed(t *testing.T) {
	s := newSim(t, 1, 1)
	var order []int
	s.run(func(p *program) {
		for i := range 3 {
			p.clone(func(p *program) {
				for range 2 {
					order = append(order, i)
					p.call(nrSchedYield)
				}
			})
		}
		p.spin(func() bool { p.call(nrSchedYield); return len(order) == 6 })
	})
	if want := []int{0, 1, 2, 0, 1, 2}; !slices.Equal(order, want) {
		t.Errorf("threads ran in the order %v instead of %v", order, want)
	}
}
