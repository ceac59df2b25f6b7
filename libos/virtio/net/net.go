// Package net is the driver of virtio-net devices (virtio 1.2 §5.1). It has
// checksum and segmentation offload in both directions, receives into mergeable
// buffers, and uses as many queue pairs as there are vCPUs. It stands on
// package virtio; package inet calls it.
package net

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Features (§5.1.3).
const (
	featureCsum      = 1 << 0 // the device completes checksums
	featureGuestCsum = 1 << 1 // received checksums may be partial, or verified by the device
	featureMTU       = 1 << 3 // the device reports its MTU
	featureMAC       = 1 << 5 // the device has an address
	featureGuestTSO4 = 1 << 7 // the device may send large segments
	featureGuestTSO6 = 1 << 8
	featureHostTSO4  = 1 << 11 // the device accepts large segments
	featureHostTSO6  = 1 << 12
	featureMergeable = 1 << 15 // the device may spread a frame over several buffers
	featureStatus    = 1 << 16 // the device reports whether the link is up
	featureControl   = 1 << 17 // the device has a control queue
	featureQueues    = 1 << 22 // the device has several queue pairs

	featuresReceive = featureGuestTSO4 | featureGuestTSO6
	featuresSend    = featureCsum | featureHostTSO4 | featureHostTSO6
)

// Offsets in struct virtio_net_config (§5.1.4), little endian.
const (
	configMAC    = 0
	configStatus = 6
	configPairs  = 8
	configMTU    = 10

	statusLinkUp = 1
)

const (
	ethernetSize = 14
	defaultMTU   = 1500
	minMTU       = 68 // §5.1.4.1
)

// Device is a virtio-net device.
type Device struct {
	dev   *virtio.Device
	mac   [6]byte
	mtu   int
	pairs []pair
	up    atomic.Bool
}

// pair is a pair of queues, one for each direction.
type pair struct {
	rx receiver
	tx sender
}

// Open opens and starts the device of t. It returns EIO for a device that
// violates the specification.
func Open(t virtio.Transport) (*Device, linux.Errno) {
	dev, errno := agree(t)
	if errno != 0 {
		return nil, errno
	}
	d := &Device{dev: dev, mtu: defaultMTU}
	if errno := d.start(); errno != 0 {
		dev.Shutdown()
		return nil, errno
	}
	return d, 0
}

// start reads the configuration and sets up the queues.
func (d *Device) start() linux.Errno {
	offered := 1
	if !d.readConfig(&offered) {
		d.dev.Fail("its configuration is invalid")
		return linux.EIO
	}
	b := budgetFor(platform.Config().Memory, min(offered, platform.Config().CPUs))
	d.pairs = make([]pair, b.pairs)
	for i := range d.pairs {
		if errno := d.pairs[i].rx.init(d, 2*i, b.receive); errno != 0 {
			return errno
		}
		if errno := d.pairs[i].tx.init(d, 2*i+1, b.send); errno != 0 {
			return errno
		}
	}
	var c *control
	if len(d.pairs) > 1 {
		var errno linux.Errno
		if c, errno = newControl(d.dev, 2*offered); errno != 0 {
			return errno
		}
	}
	if d.dev.Has(featureStatus) {
		d.dev.OnConfig(d.linkChanged)
	}
	if errno := d.dev.Start(); errno != 0 {
		return errno
	}
	for i := range d.pairs {
		d.pairs[i].rx.fill()
	}
	if c != nil {
		switch errno := c.setPairs(len(d.pairs)); errno {
		case 0:
		case linux.EOPNOTSUPP: // the device continues with one pair (§5.1.6.5.5)
			d.pairs = d.pairs[:1]
		default:
			return errno
		}
	}
	d.linkChanged()
	return 0
}

// agree opens the device with a consistent set of features. Without mergeable
// buffers, each buffer would have to hold a segment of 64 KiB, so it then does
// without large segments.
func agree(t virtio.Transport) (*virtio.Device, linux.Errno) {
	want := uint64(featureCsum | featureGuestCsum | featureMTU | featureMAC | featuresReceive | featuresSend |
		featureMergeable | featureStatus | featureControl | featureQueues)
	dev, errno := virtio.Open(t, want)
	if errno != 0 {
		return nil, errno
	}
	use := want
	if !dev.Has(featureMergeable | featureGuestCsum) {
		use &^= featuresReceive
	}
	if !dev.Has(featureControl) {
		use &^= featureQueues
	}
	if use == want {
		return dev, 0
	}
	return virtio.Open(t, use)
}

// readConfig reads the configuration. It returns false for an invalid one.
func (d *Device) readConfig(pairs *int) bool {
	if d.dev.Has(featureMAC) && (!d.dev.Config(configMAC, d.mac[:]) || d.mac[0]&1 != 0) {
		return false
	}
	var field [2]byte
	if d.dev.Has(featureMTU) {
		if !d.dev.Config(configMTU, field[:]) {
			return false
		}
		d.mtu = le16(field)
	}
	if d.dev.Has(featureQueues) {
		if !d.dev.Config(configPairs, field[:]) {
			return false
		}
		*pairs = le16(field)
	}
	return d.mtu >= minMTU && *pairs >= 1 && *pairs <= 0x8000 // §5.1.4.1
}

func le16(b [2]byte) int { return int(b[0]) | int(b[1])<<8 }

// MAC returns the device's Ethernet address, if it has one.
func (d *Device) MAC() (addr [6]byte, ok bool) { return d.mac, d.dev.Has(featureMAC) }

// MTU returns the largest packet in bytes that the device carries, without the
// link header.
func (d *Device) MTU() int { return d.mtu }

// Segments reports whether sent frames may be large segments and have partial
// checksums.
func (d *Device) Segments() bool { return d.dev.Has(featuresSend) }

// Queues returns the number of queue pairs.
func (d *Device) Queues() int { return len(d.pairs) }

// Up reports whether the device is connected to a network.
func (d *Device) Up() bool { return d.up.Load() }

// linkChanged reads whether the link is up. Without this feature the link is
// always up (§5.1.5).
func (d *Device) linkChanged() {
	status := [2]byte{statusLinkUp}
	if d.dev.Has(featureStatus) && !d.dev.Config(configStatus, status[:]) {
		return
	}
	d.up.Store(status[0]&statusLinkUp != 0)
}

// Send adds a frame to the send queue of a pair. It returns EAGAIN when there
// is no room now, and EMSGSIZE when the frame is too large. Only one goroutine
// at a time may send by a pair.
func (d *Device) Send(pair int, h boot.VnetHeader, frame [][]byte) linux.Errno {
	return d.pairs[pair].tx.send(h, frame)
}

// ShouldNotify reports whether the device needs a Notify for the frames that
// this pair has sent since the last call. Only the goroutine that may send by
// the pair calls it.
func (d *Device) ShouldNotify(pair int) bool { return d.pairs[pair].tx.q.ShouldNotify() }

// Notify notifies the device of the frames sent by this pair. It accesses a
// device register, which costs far more than a frame, so several frames should
// share one notification. Any goroutine may call it.
func (d *Device) Notify(pair int) { d.pairs[pair].tx.q.Notify() }

// WaitSend parks until the pair may have room again. It returns EIO when it
// never will. Only the goroutine that may send by the pair calls it.
func (d *Device) WaitSend(pair int) linux.Errno {
	if !d.pairs[pair].tx.q.Wait() {
		return linux.EIO
	}
	return 0
}

// Receive calls deliver for each frame that a pair receives, until the device
// is closed or broken. The pieces of a frame are valid until deliver returns.
// The device can change them at any time, so deliver must copy them before it
// looks at them. Only one goroutine receives by a pair.
func (d *Device) Receive(pair int, deliver func(h boot.VnetHeader, frame [][]byte)) {
	d.pairs[pair].rx.run(deliver)
}

// Close stops the device for good.
func (d *Device) Close() { d.dev.Shutdown() }
