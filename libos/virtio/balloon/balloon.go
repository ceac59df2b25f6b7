// Package balloon drives virtio's memory balloon (virtio 1.2 §5.5). Memory that
// the program freed goes back to the host: when the host asks for it and, if
// the device has free page reporting, automatically. Package machine starts it.
package balloon

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Features (virtio 1.2 §5.5.3).
const (
	featureMustTellHost = 1 << 0
	featureStats        = 1 << 1
	featureFreePageHint = 1 << 3
	featureReporting    = 1 << 5
)

// Fields of the configuration (§5.5.4).
const (
	configNumPages = 0 // pages that the host wants
	configActual   = 4 // pages that the balloon has
)

// Queues (§5.5.2). The queues of features follow without gaps: statistics,
// hints, reports. QEMU, Firecracker and Linux number them like this.
const (
	inflateQueue = iota
	deflateQueue
	firstOptionalQueue
)

const (
	queueSize = 16
	pageNums  = 1024 // page frame numbers per buffer, 32 bits each
)

// memory provides page frames: from the platform, or from a test.
type memory interface {
	TakeFree(runs []platform.PageRun) int
	ReturnFree(runs []platform.PageRun)
	// Spare returns how many bytes the program can do without.
	Spare() uint64
}

// balloon is the device, and the page frames that the host has.
type balloon struct {
	dev              *virtio.Device
	inflate, deflate *virtio.Queue
	report           *virtio.Queue // nil without free page reporting
	memory           memory

	list    virtio.Buffer // page frame numbers; used by follow
	buffers [1]virtio.Buffer
	given   []platform.PageRun // pages that the host has; used by follow
	pages   uint32             // number of pages in given; used by follow

	runs   []platform.PageRun // runs being reported
	frames []virtio.Buffer    // the same runs as buffers

	changed platform.Waiter // the configuration has changed, or the device is shut down
	tick    platform.Waiter // time for a report, or the device is shut down
	closed  atomic.Bool
}

// Start starts the device of t. It runs for as long as the VM does.
func Start(t virtio.Transport) linux.Errno {
	_, errno := start(t, platformMemory{})
	return errno
}

func start(t virtio.Transport, m memory) (*balloon, linux.Errno) {
	// The features that the device offers determine the number of the reporting
	// queue, even those that are not accepted.
	offered := t.Features()
	dev, errno := virtio.Open(t, featureMustTellHost|featureReporting)
	if errno != 0 {
		return nil, errno
	}
	b := &balloon{dev: dev, memory: m}
	if b.inflate, errno = dev.NewQueue(inflateQueue, queueSize); errno != 0 {
		return nil, errno
	}
	if b.deflate, errno = dev.NewQueue(deflateQueue, queueSize); errno != 0 {
		return nil, errno
	}
	if dev.Has(featureReporting) {
		n := firstOptionalQueue
		for _, before := range []uint64{featureStats, featureFreePageHint} {
			if offered&before != 0 {
				n++
			}
		}
		if b.report, errno = dev.NewQueue(n, queueSize); errno != 0 {
			return nil, errno
		}
		n = reportAtOnce(platform.Config().Memory)
		b.runs, b.frames = make([]platform.PageRun, n), make([]virtio.Buffer, n)
	}
	if b.list, errno = virtio.Alloc(4 * pageNums); errno != 0 {
		return nil, errno
	}
	dev.OnConfig(b.changed.Wake)
	if errno := dev.Start(); errno != 0 {
		return nil, errno
	}
	go b.follow()
	if b.report != nil {
		go b.reports()
	}
	return b, 0
}

// shutdown stops the device.
func (b *balloon) shutdown() {
	b.closed.Store(true)
	b.dev.Shutdown()
	b.changed.Wake()
	b.tick.Wake()
}

// follow changes the balloon's size whenever the host wants another size.
func (b *balloon) follow() {
	for !b.closed.Load() {
		for b.adjust() {
		}
		b.changed.Wait()
	}
}

// adjust takes one step towards the size that the host wants. It returns false
// when no step is possible.
func (b *balloon) adjust() bool {
	var p [4]byte
	if !b.dev.Config(configNumPages, p[:]) {
		return false
	}
	want := uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
	switch {
	case want > b.pages:
		return b.grow(want - b.pages)
	case want < b.pages:
		return b.shrink(b.pages - want)
	}
	return false
}

// grow gives up to n pages to the host.
func (b *balloon) grow(n uint32) bool {
	spare := b.memory.Spare() / platform.PageSize
	n = uint32(min(uint64(n), spare, pageNums))
	var run [1]platform.PageRun
	if n == 0 || b.memory.TakeFree(run[:]) == 0 {
		return false
	}
	give, rest := split(run[0], int(n))
	if rest.Pages > 0 {
		b.memory.ReturnFree([]platform.PageRun{rest})
	}
	if !b.sendPages(b.inflate, give) {
		// The device may use the pages or not, so they are lost.
		return false
	}
	b.given = append(b.given, give)
	b.resized(uint32(give.Pages))
	return true
}

// shrink takes up to n pages back from the host.
func (b *balloon) shrink(n uint32) bool {
	last := len(b.given) - 1
	back, rest := split(b.given[last], int(min(n, pageNums)))
	if !b.sendPages(b.deflate, back) {
		return false
	}
	b.memory.ReturnFree([]platform.PageRun{back})
	if b.given[last] = rest; rest.Pages == 0 {
		b.given = b.given[:last]
	}
	b.resized(-uint32(back.Pages))
	return true
}

// split returns the first n pages of a run, and the rest.
func split(r platform.PageRun, n int) (first, rest platform.PageRun) {
	n = min(n, r.Pages)
	return platform.PageRun{Phys: r.Phys, Pages: n},
		platform.PageRun{Phys: r.Phys + uint64(n)*platform.PageSize, Pages: r.Pages - n}
}

// resized tells the device the new size (§5.5.6.1).
func (b *balloon) resized(by uint32) {
	b.pages += by
	b.dev.SetConfig(configActual, []byte{byte(b.pages), byte(b.pages >> 8), byte(b.pages >> 16), byte(b.pages >> 24)})
}

// sendPages sends the page frame numbers of a run, and waits until the device
// has used the buffer.
func (b *balloon) sendPages(q *virtio.Queue, r platform.PageRun) bool {
	for i := range r.Pages {
		n := uint32(r.Phys/platform.PageSize) + uint32(i)
		p := b.list.Mem[4*i:]
		p[0], p[1], p[2], p[3] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
	}
	b.buffers[0] = b.list.Slice(0, 4*r.Pages)
	return q.Add(b.buffers[:], nil, 0) && await(q)
}

// await notifies the device, and waits until it has used the only buffer.
func await(q *virtio.Queue) bool {
	q.Kick()
	for q.Wait() {
		if _, _, ok := q.Take(); ok {
			return true
		}
	}
	return false
}

// platformMemory is the memory of the platform.
type platformMemory struct{}

func (platformMemory) TakeFree(runs []platform.PageRun) int { return platform.TakeFree(runs) }
func (platformMemory) ReturnFree(runs []platform.PageRun)   { platform.ReturnFree(runs) }

// Spare leaves the program the memory that it has, and an eighth of the VM's
// memory to grow into.
func (platformMemory) Spare() uint64 {
	_, used := platform.Memory()
	all := platform.Config().Memory
	if keep := used + all/8; all > keep {
		return all - keep
	}
	return 0
}
