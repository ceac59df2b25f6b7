// Package block drives virtio disks (virtio 1.2 §5.2). A Disk can be read and
// written at any offset. A File is a Disk opened as /dev/vda. The package
// stands on package virtio; package machine opens disks when the program does.
//
// There is no cache: when a write returns, the device has the data. A flush
// makes the data permanent.
package block

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
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

	features = featureSizeMax | featureSegMax | featureReadOnly | featureBlockSize | featureFlush |
		featureTopology | featureMultiQueue | featureDiscard | featureWriteZeroes
)

// Fields of the configuration (§5.2.4): offset and size in bytes.
var (
	configCapacity         = field{0, 8} // in sectors
	configSizeMax          = field{8, 4}
	configSegMax           = field{12, 4}
	configBlockSize        = field{20, 4}
	configPhysicalExponent = field{24, 1}
	configAlignmentOffset  = field{25, 1}
	configMinIO            = field{26, 2}
	configOptIO            = field{28, 4}
	configQueues           = field{34, 2}
	configMaxDiscard       = field{36, 4} // in sectors
	configMaxWriteZeroes   = field{48, 4} // in sectors
)

type field struct{ off, size int }

// sector is the unit of the protocol in bytes, whatever the disk's block size.
const sector = 512

const (
	maxBlockSize = 64 << 10
	maxSize      = 1 << 62 // in bytes
	maxLanes     = 8
)

// Disk is a disk. Its methods may be called concurrently.
type Disk struct {
	dev   *virtio.Device
	lanes []*lane
	next  atomic.Uint32 // lane of the next operation
	size  atomic.Int64
	chunk int // most bytes of data in one request
	limits

	// partial is locked for writing while a part of a block is changed, which
	// takes a read and a write. It is read-locked while whole blocks are written.
	partial sync.RWMutex
}

// limits are properties that the device reports.
type limits struct {
	blockSize       int // unit of requests, in bytes
	physical        int // physical block size in bytes
	alignmentOffset int // offset of the first physical block in bytes
	minIO, optIO    int // in bytes; 0: not reported
	maxDiscard      int64
	maxWriteZeroes  int64
	readOnly        bool
}

// Open opens the device of t. It returns EIO for an invalid configuration.
func Open(t virtio.Transport) (*Disk, linux.Errno) {
	dev, errno := virtio.Open(t, features)
	if errno != 0 {
		return nil, errno
	}
	d := &Disk{dev: dev}
	if !d.readLimits() || !d.readSize() {
		dev.Fail("its configuration is invalid")
		return nil, linux.EIO
	}
	segments, segmentSize := d.segmentLimits()
	lanes := 1
	if dev.Has(featureMultiQueue) {
		lanes = max(1, min(int(d.config(configQueues)), runtime.NumCPU(), maxLanes))
	}
	room := maxChunk
	for i := range lanes {
		l, errno := newLane(dev, i, segments, segmentSize)
		if errno != 0 {
			return nil, errno
		}
		d.lanes = append(d.lanes, l)
		room = min(room, l.room)
	}
	d.chunk = room / d.blockSize * d.blockSize
	if d.chunk == 0 {
		dev.Fail("its requests cannot hold one block")
		return nil, linux.EIO
	}
	dev.OnConfig(func() {
		if !d.readSize() {
			dev.Fail("its new size is invalid")
		}
	})
	if errno := dev.Start(); errno != 0 {
		return nil, errno
	}
	for _, l := range d.lanes {
		go l.run()
	}
	return d, 0
}

// config returns a field of the configuration, or 0 if it does not exist.
func (d *Disk) config(f field) (v uint64) {
	var b [8]byte
	if !d.dev.Config(f.off, b[:f.size]) {
		return 0
	}
	for i := range f.size {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

func (d *Disk) readLimits() bool {
	d.readOnly = d.dev.Has(featureReadOnly)
	d.blockSize = sector
	if d.dev.Has(featureBlockSize) {
		n := d.config(configBlockSize)
		if n < sector || n > maxBlockSize || n&(n-1) != 0 {
			return false
		}
		d.blockSize = int(n)
	}
	d.physical = d.blockSize
	if d.dev.Has(featureTopology) {
		if e := d.config(configPhysicalExponent); e <= 16 {
			d.physical <<= e
		}
		d.alignmentOffset = int(d.config(configAlignmentOffset)) * d.blockSize
		d.minIO = int(d.config(configMinIO)) * d.blockSize
		d.optIO = int(d.config(configOptIO)) * d.blockSize
	}
	if d.dev.Has(featureDiscard) {
		d.maxDiscard = d.rangeLimit(configMaxDiscard)
	}
	if d.dev.Has(featureWriteZeroes) {
		d.maxWriteZeroes = d.rangeLimit(configMaxWriteZeroes)
	}
	return true
}

// rangeLimit converts a limit in sectors to bytes, rounded down to whole
// blocks. Without a limit, the range is the largest that a request can have.
func (d *Disk) rangeLimit(f field) int64 {
	n := int64(d.config(f))
	if n == 0 {
		n = 1<<32 - 1
	}
	return n * sector / int64(d.blockSize) * int64(d.blockSize)
}

// readSize reads the capacity, which may change while the disk is in use. It
// returns false for an invalid size.
func (d *Disk) readSize() bool {
	n := d.config(configCapacity)
	if n > maxSize/sector {
		return false
	}
	d.size.Store(int64(n) * sector / int64(d.blockSize) * int64(d.blockSize))
	return true
}

// segmentLimits returns how many segments of data a request may have, and their
// largest size in bytes.
func (d *Disk) segmentLimits() (n, size int) {
	n, size = 1, maxChunk
	if d.dev.Has(featureSegMax) {
		n = int(min(max(d.config(configSegMax), 1), maxChunk))
	}
	if d.dev.Has(featureSizeMax) {
		size = int(min(max(d.config(configSizeMax), 1), maxChunk))
	}
	return n, size
}

// Size returns the size of the disk in bytes, a multiple of the block size.
func (d *Disk) Size() int64 { return d.size.Load() }

// BlockSize returns the block size in bytes. A write that does not cover whole
// blocks must read first.
func (d *Disk) BlockSize() int { return d.blockSize }

// ReadOnly reports whether the disk is read-only. Writes then fail with EPERM.
func (d *Disk) ReadOnly() bool { return d.readOnly }

// clip returns how many of the n bytes at off are on the disk.
func (d *Disk) clip(off int64, n int) int { return int(max(0, min(int64(n), d.Size()-off))) }

// ReadAt reads at any offset. It reads less than all of p only at the end of
// the disk and before an error.
func (d *Disk) ReadAt(p []byte, off int64) (int, linux.Errno) {
	if off < 0 {
		return 0, linux.EINVAL
	}
	return d.transfer(typeIn, p[:d.clip(off, len(p))], off)
}

// WriteAt writes at any offset. It returns ENOSPC if off is at or beyond the
// end of the disk.
func (d *Disk) WriteAt(p []byte, off int64) (int, linux.Errno) {
	switch {
	case d.readOnly:
		return 0, linux.EPERM
	case off < 0:
		return 0, linux.EINVAL
	}
	n := d.clip(off, len(p))
	if n == 0 && len(p) > 0 {
		return 0, linux.ENOSPC
	}
	size := int64(d.blockSize)
	done := 0
	for done < n {
		at, left := off+int64(done), p[done:n]
		var m int
		var errno linux.Errno
		if at%size != 0 || len(left) < d.blockSize {
			m, errno = d.writePart(left[:min(int64(len(left)), size-at%size)], at)
		} else {
			d.partial.RLock()
			m, errno = d.transfer(typeOut, left[:len(left)/d.blockSize*d.blockSize], at)
			d.partial.RUnlock()
		}
		done += m
		if errno != 0 {
			return done, errno
		}
	}
	return done, 0
}

// writePart writes a part of one block.
func (d *Disk) writePart(p []byte, off int64) (int, linux.Errno) {
	d.partial.Lock()
	defer d.partial.Unlock()
	block := make([]byte, d.blockSize)
	start := off / int64(d.blockSize) * int64(d.blockSize)
	if _, errno := d.transfer(typeIn, block, start); errno != 0 {
		return 0, errno
	}
	copy(block[off-start:], p)
	if _, errno := d.transfer(typeOut, block, start); errno != 0 {
		return 0, errno
	}
	return len(p), 0
}

// Flush makes all completed writes permanent.
func (d *Disk) Flush() linux.Errno {
	if d.readOnly || !d.dev.Has(featureFlush) {
		return 0
	}
	return d.command(typeFlush, 0, nil)
}

// Discard tells the device that the n bytes at off are no longer needed.
// Reading them afterwards gives undefined data. off and n must be multiples of
// the block size, else EINVAL. It returns EOPNOTSUPP if the device does not
// support it.
func (d *Disk) Discard(off, n int64) linux.Errno {
	if errno := d.checkRange(off, n); errno != 0 {
		return errno
	}
	if d.maxDiscard == 0 {
		return linux.EOPNOTSUPP
	}
	return d.ranges(typeDiscard, off, n, d.maxDiscard, 0)
}

// WriteZeroes zeroes n bytes at off. unmap permits the device to deallocate
// them. off and n must be multiples of the block size, else EINVAL.
func (d *Disk) WriteZeroes(off, n int64, unmap bool) linux.Errno {
	if errno := d.checkRange(off, n); errno != 0 {
		return errno
	}
	d.partial.RLock()
	defer d.partial.RUnlock()
	if d.maxWriteZeroes > 0 {
		flags := uint32(0)
		if unmap {
			flags = flagUnmap
		}
		errno := d.ranges(typeWriteZeroes, off, n, d.maxWriteZeroes, flags)
		if errno != linux.EOPNOTSUPP {
			return errno
		}
	}
	zeroes := make([]byte, min(n, int64(d.chunk)*window))
	for n > 0 {
		m, errno := d.transfer(typeOut, zeroes[:min(n, int64(len(zeroes)))], off)
		if errno != 0 {
			return errno
		}
		off, n = off+int64(m), n-int64(m)
	}
	return 0
}

func (d *Disk) checkRange(off, n int64) linux.Errno {
	size := int64(d.blockSize)
	switch {
	case d.readOnly:
		return linux.EPERM
	case off < 0 || n < 0 || off%size != 0 || n%size != 0, off > d.Size() || n > d.Size()-off:
		return linux.EINVAL
	}
	return 0
}

// ranges makes requests for n bytes at off, each for at most most bytes.
func (d *Disk) ranges(typ uint32, off, n, most int64, flags uint32) linux.Errno {
	for n > 0 {
		m := min(n, most)
		if errno := d.command(typ, 0, blockRange{uint64(off / sector), uint32(m / sector), flags}.bytes()); errno != 0 {
			return errno
		}
		off, n = off+m, n-m
	}
	return 0
}
