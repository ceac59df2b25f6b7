// Package net is the driver of virtio-net devices (virtio 1.2 §5.1): frames
// with checksum and segmentation offload both ways, received into mergeable
// buffers, over as many pairs of queues as there are CPUs. It stands on package
// virtio; package inet, whose device it is, calls it.
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
	featureCsum      = 1 << 0  // the device completes checksums
	featureGuestCsum = 1 << 1  // it leaves received ones partial, or has verified them
	featureMTU       = 1 << 3  // it says what its MTU is
	featureMAC       = 1 << 5  // it has an address
	featureGuestTSO4 = 1 << 7  // it sends large segments
	featureGuestTSO6 = 1 << 8  //
	featureHostTSO4  = 1 << 11 // it takes large segments
	featureHostTSO6  = 1 << 12 //
	featureMergeable = 1 << 15 // it spreads a frame over several buffers
	featureStatus    = 1 << 16 // it says whether the link is up
	featureControl   = 1 << 17 // it has a control queue
	featureQueues    = 1 << 22 // it has several pairs of queues

	featuresReceive = featureGuestTSO4 | featureGuestTSO6
	featuresSend    = featureCsum | featureHostTSO4 | featureHostTSO6
)

// Offsets of struct virtio_net_config (§5.1.4), little endian.
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

// pair is a queue each way.
type pair struct {
	rx receiver
	tx sender
}

// Open takes the device of t and has it run. EIO: it does not do as the
// specification says.
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

// start reads what the device is and sets its queues up.
func (d *Device) start() linux.Errno {
	offered := 1
	if !d.readConfig(&offered) {
		d.dev.Fail("its configuration is not that of a network device")
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
		case linux.EOPNOTSUPP: // it goes on with the pair that it began with (§5.1.6.5.5)
			d.pairs = d.pairs[:1]
		default:
			return errno
		}
	}
	d.linkChanged()
	return 0
}

// agree opens the device with those features that are of use together. Without
// mergeable buffers each would have to hold a segment of 64 KiB, so there are
// no large segments then.
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

// readConfig reads what the device says of itself; false: what cannot be.
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

// MAC is the device's Ethernet address, if it has one.
func (d *Device) MAC() (addr [6]byte, ok bool) { return d.mac, d.dev.Has(featureMAC) }

// MTU is the largest packet, without its link header, that the device carries.
func (d *Device) MTU() int { return d.mtu }

// Segments says whether frames that are sent may be large segments and have
// partial checksums.
func (d *Device) Segments() bool { return d.dev.Has(featuresSend) }

// Queues is the number of pairs of queues.
func (d *Device) Queues() int { return len(d.pairs) }

// Up says whether the device is connected to a network.
func (d *Device) Up() bool { return d.up.Load() }

// linkChanged reads whether the link is up. A device that does not say has one
// that always is (§5.1.5).
func (d *Device) linkChanged() {
	status := [2]byte{statusLinkUp}
	if d.dev.Has(featureStatus) && !d.dev.Config(configStatus, status[:]) {
		return
	}
	d.up.Store(status[0]&statusLinkUp != 0)
}

// Send gives the device a frame to send by the given pair of queues: EAGAIN when
// there is no room for it now, EMSGSIZE when there never is. One goroutine a pair sends at a
// time.
func (d *Device) Send(pair int, h boot.VnetHeader, frame [][]byte) linux.Errno {
	return d.pairs[pair].tx.send(h, frame)
}

// Due says whether the device is to be told, by Tell, of what was sent by this
// pair since Due was asked last. One goroutine a pair asks, which may send by it.
func (d *Device) ShouldNotify(pair int) bool { return d.pairs[pair].tx.q.ShouldNotify() }

// Tell has the device begin with what was sent by this pair. It is an access to
// the device's registers, which costs far more than a frame: several frames had
// better share it. Any goroutine may call it.
func (d *Device) Notify(pair int) { d.pairs[pair].tx.q.Notify() }

// WaitSend parks the calling goroutine, the one that may send by this pair,
// until there may be room again; EIO: there will not be.
func (d *Device) WaitSend(pair int) linux.Errno {
	if !d.pairs[pair].tx.q.Wait() {
		return linux.EIO
	}
	return 0
}

// Receive calls deliver with each frame that comes by the given pair of queues
// until the device is closed or broken. The pieces are the device's again when
// deliver returns, and may change before: they are to be copied before anything
// is decided on them. One goroutine a pair receives.
func (d *Device) Receive(pair int, deliver func(h boot.VnetHeader, frame [][]byte)) {
	d.pairs[pair].rx.run(deliver)
}

// Close stops the device for good.
func (d *Device) Close() { d.dev.Shutdown() }
