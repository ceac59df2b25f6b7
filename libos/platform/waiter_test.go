package platform

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestAWakeBeforeWaitIsKeptAndWakesAreOne(t *testing.T) {
	var w Waiter
	w.Wake()
	w.Wake()
	w.Wait()
	var returned atomic.Bool
	done := make(chan bool)
	go func() {
		w.Wait()
		if !returned.Load() {
			t.Error("the second Wake was kept too")
		}
		close(done)
	}()
	returned.Store(true)
	w.Wake()
	<-done
}

func TestNoWakeIsLost(t *testing.T) {
	var w Waiter
	var n atomic.Int64
	const wakers, each = 4, 2000
	var all sync.WaitGroup
	for range wakers {
		all.Go(func() {
			for range each {
				n.Add(1)
				w.Wake()
			}
		})
	}
	for n.Load() < wakers*each {
		w.Wait() // each increase is followed by a Wake, so this returns
	}
	all.Wait()
}
