// Package vhost is a network card (virtio 1.2 §5.1) whose packets somebody else
// moves: another process, which is a vhost-user back end ([NewUser]), or the
// host's kernel with an interface of its own ([NewKernel]). They are given the
// queues, with the events that the driver and the queues notify each other by,
// so this process has no part in a packet. What is left here is the
// configuration, and the control queue of a card with several pairs of queues.
package net

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"
)

// Feature bits (§5.1.3).
const (
	featureCsum      = 1 << 0
	featureGuestCsum = 1 << 1
	featureMTU       = 1 << 3
	featureMAC       = 1 << 5
	featureGuestTSO4 = 1 << 7
	featureGuestTSO6 = 1 << 8
	featureHostTSO4  = 1 << 11
	featureHostTSO6  = 1 << 12
	featureMergeable = 1 << 15
	featureControl   = 1 << 17
	featureQueues    = 1 << 22

	featuresOffload = featureCsum | featureGuestCsum | featureGuestTSO4 | featureGuestTSO6 | featureHostTSO4 | featureHostTSO6
	// featuresPassed are those that are the back end's to offer.
	featuresPassed = featuresOffload | featureMergeable | device.FeaturesOfQueues
)

const (
	// queueSize is that of each queue of packets.
	queueSize = 256
	// maxPairs is far more than CPUs that one back end keeps busy.
	maxPairs = 64
	minMTU   = 68 // §5.1.4.1
)

// Config is what the driver reads of its card.
type Config struct {
	MAC   net.HardwareAddr // none: the driver has one of its own
	MTU   int              // of the network; 0: as usual
	Pairs int              // of queues, at least 1
}

// config is struct virtio_net_config (§5.1.4).
func (c *Config) config() []byte {
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
	// features are the bits that it offers.
	features() uint64
	// start has it work on the queues of packets, two for each pair, both
	// of size 0 for a pair that is not there. Only the first pair is on.
	start(features uint64, queues []device.Queue) error
	// enable turns a pair on or off.
	enable(pair int, on bool) error
	// stop takes the queues back, also from a start that failed.
	stop()
	// gone is closed when no packet will be moved any more, because of err.
	gone() <-chan struct{}
	err() error
	close()
}

// Device is a device.Device.
type Device struct {
	mem    *virtqueue.Memory
	path   dataPath
	card   Config
	config []byte
	queues []int

	// Of what Start began.
	running  []device.Queue // of packets
	control  *device.Worker // nil: the driver has no control queue
	stopping chan struct{}
	watched  chan struct{} // closed when watch has ended
}

func newDevice(mem *virtqueue.Memory, path dataPath, card Config) (*Device, error) {
	if path.features()&device.FeatureVersion1 == 0 {
		return nil, errors.New("the back end is older than virtio 1.0")
	}
	d := &Device{mem: mem, path: path, card: card, config: card.config()}
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
	f := d.path.features() & featuresPassed
	if len(d.card.MAC) > 0 {
		f |= featureMAC
	}
	if d.card.MTU > 0 {
		f |= featureMTU
	}
	if d.card.Pairs > 1 {
		f |= featureControl | featureQueues
	}
	return f
}

// Queues implements device.Device.
func (d *Device) Queues() []int { return d.queues }

// Config implements device.Device.
func (d *Device) Config() []byte { return d.config }

// SetConfig implements device.Device: nothing is the driver's to write.
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
	if err := d.path.start(features&(featuresPassed|featureQueues), packets); err != nil {
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

// divide tells the queues of packets, which it checks, from the control queue,
// whose number depends on what the driver accepted (§5.1.2).
func (d *Device) divide(features uint64, queues []device.Queue) (packets []device.Queue, control *device.Queue, err error) {
	if len(queues) != len(d.queues) || features&^d.Features() != 0 {
		return nil, nil, fmt.Errorf("%d queues of %d, features %#x of %#x", len(queues), len(d.queues), features, d.Features())
	}
	pairs := 1
	if features&featureQueues != 0 {
		pairs = d.card.Pairs
	}
	switch features & (featureControl | featureQueues) {
	case featureQueues: // §5.1.3.1
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
			// A lie is the driver's matter, and not to end the back end.
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

// watch tells the driver when the back end is gone.
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

// Socket is the descriptor of the connection to the back end, for who confines
// this process; -1: there is none.
func (d *Device) Socket() int {
	if u, ok := d.path.(*user); ok {
		return u.FD()
	}
	return -1
}

// Descriptor is that of the connection to a back end which is another process,
// or -1.
func (d *Device) Descriptor() int {
	if u, ok := d.path.(*user); ok {
		return u.Client.Descriptor()
	}
	return -1
}

// Close ends the back end's work for good. It comes after Stop.
func (d *Device) Close() { d.path.close() }
