// Package ninep carries 9P messages over a virtio device (device ID 9, virtio
// 1.2 §5; its layout is Linux's include/uapi/linux/virtio_9p.h) and mounts the
// folders that such devices share. It stands on package virtio and makes the
// Transport of package vfs/ninep; package machine calls it at the start.
//
// A message goes in one chain of queue 0, together with room for its reply. It
// is copied to and from memory of the slot, so that a device never reaches the
// program's memory.
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

// featureMountTag: the configuration has a tag, which says what is shared.
const featureMountTag = 1 << 0

// Fields of the configuration: tag_len[2] tag[tag_len].
const (
	configTagLen = 0
	configTag    = 2
)

const (
	maxTag = 255
	// maxSlots is how many requests may be under way at once. Memory for a
	// slot is taken when it is first used.
	maxSlots = 8
	// maxMessage is the longest message: data of 128 KiB.
	maxMessage = 128<<10 + 24
	// slotSize is for a message and its reply, of which one may be long.
	slotSize = maxMessage + 8<<10
)

// Mount has the folder of the device with the tag of m mounted, before the tree
// of files is first used. A device is mounted once.
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

// devices are those of the machine.
var devices struct {
	once sync.Once
	all  []*Device
}

// find takes the device with a tag into use; nil when there is none.
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

// Device is a device. It is a ninep.Transport.
type Device struct {
	dev   *virtio.Device
	tag   string
	queue *virtio.Queue
	slots []slot

	mu      sync.Mutex // guards the queue, and what follows
	started bool
	broken  bool
}

// slot is the memory of one request at a time, and who waits for its reply.
type slot struct {
	platform.Waiter
	mem  virtio.Buffer // as large as slotSize once it was used
	busy bool          // the device has it; guarded by Device.mu
	n    int           // length of the reply; -1: none will come
}

// Open takes the device of t.
func Open(t virtio.Transport) (*Device, linux.Errno) {
	dev, errno := virtio.Open(t, featureMountTag)
	if errno != 0 {
		return nil, errno
	}
	d := &Device{dev: dev}
	dev.OnConfig(func() {}) // nothing changes, but so it can say that it failed
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

// Tag is what the device calls the folder.
func (d *Device) Tag() string { return d.tag }

// Start lets the device run. EBUSY: it does already.
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

// receive wakes who waits for replies.
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
