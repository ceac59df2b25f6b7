package balloon

import (
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Free page reporting (virtio 1.2 §5.5.6.7): the device is shown free page
// frames, and the host takes what was in them. They stay the machine's to use.

// Nanoseconds between two looks for free memory: the least, and the most, where
// there has been nothing for a while.
const (
	reportOften  = 2e9
	reportSeldom = 32e9
)

// reportAtOnce is how many runs are shown at once. They are nobody's meanwhile,
// so they are few: a program that needs memory finds it.
const reportAtOnce = 1

func (b *balloon) reports() {
	pause := int64(reportOften)
	for !b.closed.Load() {
		timer := platform.AfterFunc(pause, b.tick.Wake)
		b.tick.Wait()
		timer.Stop()
		found, ok := b.reportFree()
		if !ok {
			return
		}
		if pause = min(2*pause, reportSeldom); found {
			pause = reportOften
		}
	}
}

// reportFree shows the device all free memory that it was not shown since its
// last use. ok is false when the device is broken.
func (b *balloon) reportFree() (found, ok bool) {
	var runs [reportAtOnce]platform.PageRun
	var frames [reportAtOnce]virtio.Buffer
	for {
		n := b.memory.TakeFree(runs[:])
		if n == 0 {
			return found, true
		}
		for i, r := range runs[:n] {
			frames[i] = virtio.Frames(r)
		}
		if !b.report.Add(nil, frames[:n], 0) || !await(b.report) {
			return found, false
		}
		b.memory.ReturnFree(runs[:n])
		found = true
	}
}
