// Package net is the network card of a virtual machine (virtio 1.2 §5.1). The
// device here has the configuration and the control queue. It does not touch
// packets. Those are moved by another process, which is a vhost-user back end
// ([NewUser]), or by the host's kernel through a tap interface ([NewKernel]).
// Either gets the queues, and the eventfds by which the driver and the queues
// notify each other.
//
// Package vhostuser, below this one, is the protocol between this process and a
// back end. Package backend is the back end: it works on the queues and is the
// link.Link that a network serves. QEMU has a card of its own and uses the same
// back end.
package net

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/virtqueue"
)

// dataPathFeatures are the bits that the device offers if the data path does.
const dataPathFeatures = feature.Offload | feature.Mergeable | device.FeaturesOfQueues

const (
	// queueSize is the size of each packet queue.
	queueSize = 256
	// maxPairs is far more than the CPUs that one data path keeps busy.
	maxPairs = 64
	// minMTU is the smallest MTU in bytes (§5.1.4.1).
	minMTU = 68
)

// Config is what the driver reads of its card.
type Config struct {
	MAC   net.HardwareAddr // empty: the driver chooses an address
	MTU   int              // of the network, in bytes; 0: not told to the driver
	Pairs int              // of packet queues, at least 1
}

// encode returns struct virtio_net_config (§5.1.4).
func (c *Config) encode() []byte {
	b := make([]byte, 12)
	copy(b, c.MAC)
	b[8], b[9] = byte(c.Pairs), byte(c.Pairs>>8)
	b[10], b[11] = byte(c.MTU), byte(c.MTU>>8)
	return b
}

func (c *Config) check() error {
	switch {
	case c.Pairs < 1 || c.Pairs > maxPairs:
		return fmt.Errorf("%d pairs of queues: 1 to %d are possible", c.Pairs, maxPairs)
	case len(c.MAC) != 0 && (len(c.MAC) != 6 || c.MAC[0]&1 != 0):
		return fmt.Errorf("%v is not the address of an Ethernet card", c.MAC)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > 0xffff):
		return fmt.Errorf("an MTU of %d: %d to %d are possible", c.MTU, minMTU, 0xffff)
	}
	return nil
}

// dataPath moves the packets of a card.
type dataPath interface {
	// features returns the bits that it offers.
	features() uint64
	// start begins work on the packet queues. There are two for each pair. Both
	// have size 0 if the driver has not set up the pair. Only the first pair is
	// enabled.
	start(features uint64, queues []device.Queue) error
	// enable turns a pair on or off.
	enable(pair int, on bool) error
	// stop takes the queues back, also after a start that failed.
	stop()
	// gone returns a channel that is closed when the data path has failed for
	// good. err then says why.
	gone() <-chan struct{}
	err() error
	// descriptor returns the descriptor of the connection to another process, or
	// -1 if there is no such process.
	descriptor() int
	// close releases all that the data path owns. It comes after stop.
	close()
}

// Device is a network card. It is a [device.Device].
type Device struct {
	mem    *virtqueue.Memory
	path   dataPath
	card   Config
	config []byte
	queues []int

	// Set by Start.
	running  []device.Queue // packet queues
	control  *device.Worker // nil: the driver has no control queue
	stopping chan struct{}
	watched  chan struct{} // closed when watch has returned
}

func newDevice(mem *virtqueue.Memory, path dataPath, card Config) (*Device, error) {
	if path.features()&device.FeatureVersion1 == 0 {
		return nil, errors.New("the back end is older than virtio 1.0")
	}
	d := &Device{mem: mem, path: path, card: card, config: card.encode()}
	d.queues = slices.Repeat([]int{queueSize}, 2*card.Pairs)
	if card.Pairs > 1 {
		d.queues = append(d.queues, controlSize)
	}
	return d, nil
}

// ID implements device.Device.
func (d *Device) ID() uint32 { return device.IDNet }

// Features implements device.Device.
func (d *Device) Features() uint64 {
	f := d.path.features() & dataPathFeatures
	if len(d.card.MAC) > 0 {
		f |= feature.MAC
	}
	if d.card.MTU > 0 {
		f |= feature.MTU
	}
	if d.card.Pairs > 1 {
		f |= feature.Control | feature.Multi
	}
	return f
}

// Queues implements device.Device.
func (d *Device) Queues() []int { return d.queues }

// Config implements device.Device.
func (d *Device) Config() []byte { return d.config }

// SetConfig implements device.Device. The driver can write no field.
func (d *Device) SetConfig(int, []byte) {}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	packets, control, err := d.divide(features, queues)
	if err != nil {
		return fmt.Errorf("network card: %w", err)
	}
	d.control = nil
	if control != nil && control.Size > 0 {
		if d.control, err = device.NewWorker(d.mem, *control, features); err != nil {
			return fmt.Errorf("network card: %w", err)
		}
	}
	d.running = packets
	if err := d.path.start(features&(dataPathFeatures|feature.Multi), packets); err != nil {
		d.path.stop()
		return fmt.Errorf("network card: %w", err)
	}
	if d.control != nil {
		d.control.Run(bus, d.command)
	}
	d.stopping, d.watched = make(chan struct{}), make(chan struct{})
	go d.watch(bus)
	return nil
}

// divide separates the packet queues, which it checks, from the control queue.
// The number of the control queue depends on the features that the driver
// accepted (§5.1.2). control is nil if the driver has none.
func (d *Device) divide(features uint64, queues []device.Queue) (packets []device.Queue, control *device.Queue, err error) {
	if len(queues) != len(d.queues) || features&^d.Features() != 0 {
		return nil, nil, fmt.Errorf("%d queues of %d, features %#x of %#x", len(queues), len(d.queues), features, d.Features())
	}
	pairs := 1
	if features&feature.Multi != 0 {
		pairs = d.card.Pairs
	}
	switch features & (feature.Control | feature.Multi) {
	case feature.Multi: // §5.1.3.1
		return nil, nil, errors.New("the driver wants several pairs of queues without a control queue")
	case 0:
	default:
		control = &queues[2*pairs]
	}
	packets = slices.Clone(queues[:2*pairs])
	opts := virtqueue.Options{
		EventIndex: features&device.FeatureEventIdx != 0,
		Indirect:   features&device.FeatureIndirect != 0,
	}
	for i := 0; i < len(packets); i += 2 {
		pair := packets[i : i+2]
		if pair[0].Size == 0 || pair[1].Size == 0 {
			clear(pair)
			continue
		}
		for j := range pair {
			// The check is here because a lie of the driver would make a back end
			// hang up for good.
			if _, err := virtqueue.New(d.mem, pair[j].Layout, opts, 0); err != nil {
				return nil, nil, fmt.Errorf("queue %d: %w", i+j, err)
			}
		}
	}
	if packets[0].Size == 0 {
		return nil, nil, errors.New("the driver has not set up the first pair of queues")
	}
	return packets, control, nil
}

// watch reports to the driver that the data path is gone.
func (d *Device) watch(bus device.Bus) {
	defer close(d.watched)
	select {
	case <-d.path.gone():
		bus.Fail(fmt.Errorf("network card: %w", d.path.err()))
	case <-d.stopping:
	}
}

// Stop implements device.Device.
func (d *Device) Stop() {
	close(d.stopping)
	<-d.watched
	if d.control != nil {
		d.control.Stop()
	}
	d.path.stop()
}

// Descriptor returns the descriptor of the connection to a back end in another
// process, for the code that confines this process. It is -1 if there is no such
// connection, or no longer.
func (d *Device) Descriptor() int { return d.path.descriptor() }

// Close ends the data path for good. It comes after Stop.
func (d *Device) Close() { d.path.close() }
