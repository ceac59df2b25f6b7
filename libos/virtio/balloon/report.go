package balloon

import (
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Free page reporting (virtio 1.2 §5.5.6.7): the device gets the addresses of
// free page frames, and the host frees the memory behind them. The VM can use
// the reported pages again afterwards.

// Time between two reports, in nanoseconds. It grows to reportSeldom while
// there is nothing to report.
const (
	reportOften  = 2e9
	reportSeldom = 32e9
)

// Pages in a report cannot be used meanwhile. A report therefore covers at most
// an eighth of the memory, so that a program that needs memory finds some. It
// covers as many runs as possible within that, because each call of TakeFree
// searches all of the memory.
const (
	reportPart = 8
	longestRun = 4 << 20 // in bytes: the longest run that TakeFree returns
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

// reportFree reports all free memory that was not reported since its last use.
// ok is false when the device is broken.
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
