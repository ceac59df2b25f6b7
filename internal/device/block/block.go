// Package block implements a virtio disk (virtio 1.2 §5.2) on a raw file or a
// block device of the host. A process that may open paths calls Open. The
// process that gets the descriptor makes a Device from it, and can be another
// one.
//
// When a write completes, its data are in the page cache of the host, or on the
// device itself if the file is open with O_DIRECT. A flush calls fdatasync(2).
//
// Several goroutines serve each queue. They take requests in turn and process
// them concurrently. Data go directly between guest memory and the file. The
// guest sees an error of the file as an I/O error.
package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"
)

// Features (virtio 1.2 §5.2.3).
const (
	featureSizeMax     = 1 << 1
	featureSegMax      = 1 << 2
	featureReadOnly    = 1 << 5
	featureBlockSize   = 1 << 6
	featureFlush       = 1 << 9
	featureTopology    = 1 << 10
	featureMultiQueue  = 1 << 12
	featureDiscard     = 1 << 13
	featureWriteZeroes = 1 << 14
)

// Offsets in the configuration (§5.2.4).
const (
	configCapacity         = 0  // u64, in sectors
	configSizeMax          = 8  // u32
	configSegMax           = 12 // u32
	configBlockSize        = 20 // u32
	configPhysicalExponent = 24 // u8
	configQueues           = 34 // u16
	configMaxDiscard       = 36 // u32, in sectors
	configMaxDiscardSeg    = 40 // u32
	configDiscardAlignment = 44 // u32, in sectors
	configMaxZeroes        = 48 // u32, in sectors
	configMaxZeroesSeg     = 52 // u32
	configZeroesMayUnmap   = 56 // u8
	configSize             = 60
)

// sector is the unit of the protocol, in bytes.
const sector = 512

const (
	maxQueues = 8
	queueSize = 128
	// depth is the number of requests of a queue in flight to the file. A disk
	// with O_DIRECT has the highest throughput with several, and they do no harm
	// elsewhere.
	depth = 4

	// A request has at most maxSegments data buffers of segmentSize bytes. The
	// limits bound the duration of a request, and with it that of a reset.
	maxSegments = queueSize - 2
	segmentSize = 64 << 10
	maxRequest  = maxSegments * segmentSize

	// The limits of discard and write zeroes requests, in sectors, bound their
	// duration as well. The limit for zeroes is lower because the host may have to
	// write them.
	maxDiscard = 2 << 30 / sector
	maxZeroes  = 64 << 20 / sector

	// bounceSize is the size of the bounce buffer, in bytes. It is for data whose
	// place in guest memory is not aligned as O_DIRECT needs it.
	bounceSize = 256 << 10
)

// Options configure how the guest can use a disk.
type Options struct {
	Queues int   // number of queues; more than the vCPUs of the guest are of no use; 0 means 1
	Rate   int64 // maximum of bytes per second; 0 means no limit
	IOPS   int64 // maximum of requests per second; 0 means no limit
	// Report is called with the first error of the file. The guest learns only
	// that a request failed. Report may be nil.
	Report func(err error)
}

// Device is a virtio disk.
type Device struct {
	mem    *virtqueue.Memory
	file   *os.File
	fd     int
	info   Info
	queues int
	config [configSize]byte

	throttle throttle
	bounce   bounce
	report   func(err error)
	reported atomic.Bool

	// Set by Start.
	through  bool // write-through: the driver never flushes, so each write must be durable
	lanes    []*lane
	stopping chan struct{}
}

// bounce is a bounce buffer. One request at a time uses it.
type bounce struct {
	mu  sync.Mutex
	buf []byte // nil without O_DIRECT
}

// New returns the disk for the file f. info is the Info that Open returned for
// it. The device does not close f.
func New(mem *virtqueue.Memory, f *os.File, info Info, o Options) (*Device, error) {
	if err := info.check(); err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	if o.Rate < 0 || o.IOPS < 0 {
		return nil, errors.New("disk: a rate limit is negative")
	}
	d := &Device{
		mem: mem, file: f, fd: int(f.Fd()), info: info,
		queues:   min(max(o.Queues, 1), maxQueues),
		throttle: newThrottle(o.Rate, o.IOPS),
		report:   o.Report,
	}
	if info.Direct {
		d.bounce.buf = aligned(bounceSize, info.BlockSize)
	}
	d.configure()
	return d, nil
}

func (d *Device) configure() {
	le, c := binary.LittleEndian, d.config[:]
	block := uint32(d.info.BlockSize / sector)
	le.PutUint64(c[configCapacity:], uint64(d.info.Size/sector))
	le.PutUint32(c[configSizeMax:], segmentSize)
	le.PutUint32(c[configSegMax:], maxSegments)
	le.PutUint32(c[configBlockSize:], uint32(d.info.BlockSize))
	c[configPhysicalExponent] = byte(bits.TrailingZeros(uint(d.info.Physical / d.info.BlockSize)))
	le.PutUint16(c[configQueues:], uint16(d.queues))
	le.PutUint32(c[configMaxDiscard:], maxDiscard)
	le.PutUint32(c[configMaxDiscardSeg:], 1)
	le.PutUint32(c[configDiscardAlignment:], block)
	le.PutUint32(c[configMaxZeroes:], maxZeroes)
	le.PutUint32(c[configMaxZeroesSeg:], 1)
	c[configZeroesMayUnmap] = 1
}

// ID implements device.Device.
func (d *Device) ID() uint32 { return device.IDBlock }

// Features implements device.Device.
func (d *Device) Features() uint64 {
	f := uint64(device.FeaturesOfQueues | featureSizeMax | featureSegMax | featureBlockSize | featureFlush | featureTopology)
	if d.queues > 1 {
		f |= featureMultiQueue
	}
	if d.info.ReadOnly {
		return f | featureReadOnly
	}
	return f | featureDiscard | featureWriteZeroes
}

// Queues implements device.Device.
func (d *Device) Queues() []int { return slices.Repeat([]int{queueSize}, d.queues) }

// Config implements device.Device.
func (d *Device) Config() []byte { return d.config[:] }

// SetConfig implements device.Device. The driver can write no field.
func (d *Device) SetConfig(int, []byte) {}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	var lanes []*lane
	for i, q := range queues {
		if q.Size == 0 {
			continue
		}
		w, err := device.NewWorker(d.mem, q, features)
		if err != nil {
			return fmt.Errorf("disk, queue %d: %w", i, err)
		}
		lanes = append(lanes, &lane{d: d, w: w})
	}
	d.through = features&featureFlush == 0 // §5.2.6.2
	d.stopping, d.lanes = make(chan struct{}), lanes
	for _, l := range lanes {
		l.w.Go(bus, l.run)
	}
	return nil
}

// Stop implements device.Device. It waits for requests that the host kernel is
// processing, but not for requests that wait for a rate limit.
func (d *Device) Stop() {
	close(d.stopping)
	for _, l := range d.lanes {
		l.w.Stop()
	}
	d.lanes = nil
}

func (d *Device) stopped() bool {
	select {
	case <-d.stopping:
		return true
	default:
		return false
	}
}

// failed reports the first error of the file.
func (d *Device) failed(err error) {
	if d.report != nil && d.reported.CompareAndSwap(false, true) {
		d.report(fmt.Errorf("disk %s: %w; the guest sees an I/O error", d.info.ID, err))
	}
}

// lane is a queue with the goroutines that serve it.
type lane struct {
	d *Device
	w *device.Worker

	turn sync.Mutex // held by the goroutine that waits for the next request
	err  error      // ends all goroutines of the lane; guarded by turn
	mu   sync.Mutex // guards the queue
}

// run serves the queue until the device is stopped or the driver breaks the
// protocol.
func (l *lane) run() error {
	var all sync.WaitGroup
	defer all.Wait()
	for range depth - 1 {
		all.Go(func() {
			_ = l.work(newRequest(l.d)) // run returns the same error
		})
	}
	return l.work(newRequest(l.d))
}

func (l *lane) work(r *request) error {
	for {
		if ok, err := l.next(&r.chain); err != nil || !ok {
			return err
		}
		written, ok := r.serve()
		if !ok {
			return nil // stopped
		}
		l.mu.Lock()
		l.w.Queue().Push(&r.chain, written)
		l.w.Flush()
		l.mu.Unlock()
	}
}

var errNoStatus = errors.New("the driver lies: a request without a buffer for its status")

// next waits for a request. It reports false once the device is stopped.
func (l *lane) next(c *virtqueue.Chain) (ok bool, err error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	for l.err == nil && !l.d.stopped() {
		l.mu.Lock()
		ok, l.err = l.w.Pop(c)
		more := !ok && l.err == nil && l.w.Queue().EnableNotify()
		l.mu.Unlock()
		switch {
		case ok && c.InLen == 0:
			l.err = errNoStatus
			continue
		case ok:
			return true, nil
		case more || l.err != nil:
			continue
		case !l.w.Wait():
			return false, nil
		}
		l.mu.Lock()
		l.w.Queue().DisableNotify()
		l.mu.Unlock()
	}
	return false, l.err
}
