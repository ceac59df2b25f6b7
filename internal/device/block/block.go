// Package block is a virtio disk (virtio 1.2 §5.2) on a raw file or a block
// device of the host. Who may open paths calls Open; who has the descriptor
// then makes a Device of it, which may be another process. A write is with the
// host's kernel when the guest is told that it is done, or with the disk itself
// where the file is open with O_DIRECT; a flush is fdatasync(2).
//
// Each queue has some goroutines, which take requests in turn and work on them
// at the same time; bytes go straight between the guest's memory and the file.
// What the file fails in is an I/O error of the guest's.
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

// Offsets of the configuration (§5.2.4).
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
	// depth is how many requests of a queue are worked on at once: with
	// O_DIRECT a disk does most in that way, and others lose nothing by it.
	depth = 4

	// A request is of at most maxSegments buffers of data, of segmentSize
	// bytes. So no request takes long, and no reset.
	maxSegments = queueSize - 2
	segmentSize = 64 << 10
	maxRequest  = maxSegments * segmentSize

	// For the same reason ranges to discard and to make zero have a limit,
	// in sectors. The second may have to be written.
	maxDiscard = 2 << 30 / sector
	maxZeroes  = 64 << 20 / sector

	// bounceSize is the size of the buffer for data that O_DIRECT does not
	// take from, or to, where the guest has it.
	bounceSize = 256 << 10
)

// Options are what the guest is given of a disk.
type Options struct {
	Queues int   // at most as many as the guest has CPUs are of use; 0 is 1
	Rate   int64 // most bytes a second; 0: any
	IOPS   int64 // most requests a second; 0: any
	// Report is called with the first error of the file, of which the guest
	// learns only that it is one. It may be nil.
	Report func(err error)
}

// Device is a device.Device.
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

	// Of what Start began.
	through  bool // the driver does not flush: every write must last
	lanes    []*lane
	stopping chan struct{}
}

// bounce is a buffer for one request at a time.
type bounce struct {
	mu  sync.Mutex
	buf []byte // nil: none is needed
}

// New is the disk of f, of which info was told by Open. It does not close f.
func New(mem *virtqueue.Memory, f *os.File, info Info, o Options) (*Device, error) {
	if err := info.check(); err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	if o.Rate < 0 || o.IOPS < 0 {
		return nil, errors.New("disk: a limit below zero")
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

// SetConfig implements device.Device: nothing is the driver's to write.
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

// Stop implements device.Device. It waits for requests that the host's kernel
// has, and for no limit.
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

// failed tells of an error of the file.
func (d *Device) failed(err error) {
	if d.report != nil && d.reported.CompareAndSwap(false, true) {
		d.report(fmt.Errorf("disk %s: %w; the guest sees an I/O error", d.info.ID, err))
	}
}

// lane is a queue and who works on it.
type lane struct {
	d *Device
	w *device.Worker

	turn sync.Mutex // of who waits for the driver, and takes the next request
	err  error      // that ended it; guarded by turn
	mu   sync.Mutex // guards the queue
}

// run works on the queue until the device is stopped or the driver lies.
func (l *lane) run() error {
	var all sync.WaitGroup
	defer all.Wait()
	for range depth - 1 {
		all.Go(func() {
			_ = l.work(newRequest(l.d)) // it is all goroutines' error
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

var errNoStatus = errors.New("the driver lies: a request without room for its status")

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
