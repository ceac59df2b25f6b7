// Package ninep carries 9P messages over a virtio device (device ID 9, virtio
// 1.2 §5; Linux's include/uapi/linux/virtio_9p.h has its layout), and mounts
// the shared folders of such devices. It stands on package virtio and provides
// the Transport of package vfs/ninep. Package machine calls it at the start.
//
// A message and the room for its reply form one chain of queue 0. Messages are
// copied to and from the memory of their slot, so the device never has access
// to the program's memory.
package ninep

import (
	"errors"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/virtio"
)

// featureMountTag: the configuration has a tag, which names the shared folder.
const featureMountTag = 1 << 0

// Fields of the configuration: tag_len[2] tag[tag_len].
const (
	configTagLen = 0
	configTag    = 2
)

const (
	maxTag = 255
	// maxSlots is the most requests in flight. The memory of a slot is allocated
	// when it is first used.
	maxSlots = 8
	// maxMessage is the size of the longest message in bytes, with 128 KiB of
	// data.
	maxMessage = 128<<10 + 24
	// slotSize is room for a message and its reply. Only one of the two is long.
	slotSize = maxMessage + 8<<10
)

// Mount mounts the shared folder of the device with m's tag. It must be called
// before the tree of files is first used. A device can be mounted once.
func Mount(m boot.Mount) error {
	d, errno := find(m.Tag)
	if d == nil && errno == 0 {
		return errors.New("folder " + m.String() + ": no 9P device has this tag")
	}
	if errno == 0 {
		errno = d.mount(m)
	}
	if errno != 0 {
		return errors.New("folder " + m.String() + ": the 9P device " + d.dev.Name() + ": " + errno.Name())
	}
	return nil
}

func (d *Device) mount(m boot.Mount) linux.Errno {
	fs, errno := ninep.New(d, m.ReadOnly)
	if errno == 0 {
		fs.Mount(m.Tag, m.Path)
	}
	return errno
}

// devices are the VM's 9P devices.
var devices struct {
	once sync.Once
	all  []*Device
}

// find starts the device with that tag. It returns nil if no device has the tag.
func find(tag string) (*Device, linux.Errno) {
	devices.once.Do(func() {
		for _, t := range virtio.Find(virtio.IDNineP) {
			if d, errno := Open(t); errno == 0 {
				devices.all = append(devices.all, d)
			}
		}
	})
	for _, d := range devices.all {
		if d.tag == tag {
			return d, d.Start()
		}
	}
	return nil, 0
}

// Device is a 9P device. It implements ninep.Transport.
type Device struct {
	dev   *virtio.Device
	tag   string
	queue *virtio.Queue
	slots []slot

	mu      sync.Mutex // guards the queue and the fields below
	started bool
	broken  bool
}

// slot is the memory of one request at a time, and the goroutine that waits for
// its reply.
type slot struct {
	platform.Waiter
	mem  virtio.Buffer // slotSize bytes, allocated when first used
	busy bool          // in flight; guarded by Device.mu
	n    int           // length of the reply; -1: none will come
}

// Open opens the device of t.
func Open(t virtio.Transport) (*Device, linux.Errno) {
	dev, errno := virtio.Open(t, featureMountTag)
	if errno != 0 {
		return nil, errno
	}
	d := &Device{dev: dev}
	dev.OnConfig(func() {}) // the configuration never changes, but a handler is needed to detect that the device needs a reset
	if d.tag, errno = readTag(dev); errno != 0 {
		return nil, errno
	}
	// A chain has two descriptors.
	if d.queue, errno = dev.NewQueue(0, 2*maxSlots); errno != 0 {
		return nil, errno
	}
	d.slots = make([]slot, d.queue.Size()/2)
	return d, 0
}

func readTag(dev *virtio.Device) (string, linux.Errno) {
	if !dev.Has(featureMountTag) {
		return "", linux.ENODEV
	}
	var size [2]byte
	if !dev.Config(configTagLen, size[:]) {
		return "", linux.EIO
	}
	n := int(size[0]) | int(size[1])<<8
	if n == 0 || n > maxTag {
		return "", linux.EIO
	}
	tag := make([]byte, n)
	for i := range tag {
		if !dev.Config(configTag+i, tag[i:i+1]) {
			return "", linux.EIO
		}
	}
	return string(tag), 0
}

// Tag returns the tag of the shared folder.
func (d *Device) Tag() string { return d.tag }

// Start starts the device. It returns EBUSY if the device is already started.
func (d *Device) Start() linux.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started {
		return linux.EBUSY
	}
	d.started = true
	if errno := d.dev.Start(); errno != 0 {
		return errno
	}
	go d.receive()
	return 0
}

// receive wakes the goroutines whose replies have arrived.
func (d *Device) receive() {
	for d.queue.Wait() {
		d.mu.Lock()
		for i, n, ok := d.queue.Take(); ok; i, n, ok = d.queue.Take() {
			d.slots[i].done(n)
		}
		d.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = true
	for i := range d.slots {
		if d.slots[i].busy {
			d.slots[i].done(-1)
		}
	}
}

func (s *slot) done(n int) {
	s.busy, s.n = false, n
	s.Wake()
}

// Slots implements ninep.Transport.
func (d *Device) Slots() int { return len(d.slots) }

// MaxMessage implements ninep.Transport.
func (d *Device) MaxMessage() int { return maxMessage }

// Exchange implements ninep.Transport.
func (d *Device) Exchange(i int, out, in [][]byte) (int, linux.Errno) {
	s := &d.slots[i]
	if len(s.mem.Mem) == 0 {
		mem, errno := virtio.Alloc(slotSize)
		if errno != 0 {
			return 0, errno
		}
		s.mem = mem
	}
	sent, room := length(out), length(in)
	if sent+room > slotSize {
		return 0, linux.EMSGSIZE
	}
	request, answer := s.mem.Slice(0, sent), s.mem.Slice(sent, sent+room)
	to := request.Mem
	for _, p := range out {
		to = to[copy(to, p):]
	}
	if !d.submit(i, request, answer) {
		return 0, linux.EIO
	}
	s.Wait()
	if s.n < 0 {
		return 0, linux.EIO
	}
	from := answer.Mem[:s.n]
	for _, p := range in {
		from = from[copy(p, from):]
	}
	return s.n, 0
}

func (d *Device) submit(i int, request, answer virtio.Buffer) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken || !d.queue.Add([]virtio.Buffer{request}, []virtio.Buffer{answer}, i) {
		return false
	}
	d.slots[i].busy = true
	d.queue.Kick()
	return true
}

func length(parts [][]byte) (n int) {
	for _, p := range parts {
		n += len(p)
	}
	return n
}
