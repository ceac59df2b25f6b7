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

// Runs that are shown at once are nobody's meanwhile. So they are few, an eighth
// of the memory or less, for a program that needs some to find it; and they are
// many, as each look for them goes through all of the memory.
const (
	reportPart = 8
	longestRun = 4 << 20 // bytes, of a run that TakeFree gives
	reportMost = queueSize
)

func reportAtOnce(memory uint64) int {
	return int(min(max(memory/reportPart/longestRun, 1), reportMost))
}

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
	for {
		n := b.memory.TakeFree(b.runs)
		if n == 0 {
			return found, true
		}
		for i, r := range b.runs[:n] {
			b.frames[i] = virtio.Frames(r)
		}
		if !b.report.Add(nil, b.frames[:n], 0) || !await(b.report) {
			return found, false
		}
		b.memory.ReturnFree(b.runs[:n])
		found = true
	}
}
