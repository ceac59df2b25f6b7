// Package device defines the interface between a virtio device and its
// transport, and what the devices of this monitor share. The devices are the
// packages below this one, and the transport is package mmio. Devices know
// nothing about KVM. A device whose queues are served elsewhere, by another
// process or by the host kernel (vhost), implements the same interface.
//
// The driver is not trusted. The transport checks register accesses. Package
// virtqueue and the device check the contents of the queues.
package device

import (
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
)

// Feature bits common to all devices (virtio 1.2 §6).
const (
	FeatureIndirect = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx = 1 << 29 // VIRTIO_F_EVENT_IDX
	FeatureVersion1 = 1 << 32 // VIRTIO_F_VERSION_1

	// FeaturesOfQueues are the features that package virtqueue implements. Devices
	// that use it offer them.
	FeaturesOfQueues = FeatureIndirect | FeatureEventIdx | FeatureVersion1
)

// Device IDs (§5).
const (
	IDNet     = 1
	IDBlock   = 2
	IDConsole = 3
	IDEntropy = 4
	IDBalloon = 5
	IDNineP   = 9
	IDSocket  = 19
)

// Device is a virtio device. Only its transport calls the methods, one at a
// time.
type Device interface {
	// ID returns the device ID.
	ID() uint32
	// Features returns the feature bits that the device offers. The driver must
	// accept VERSION_1.
	Features() uint64
	// Queues returns the maximum size of each queue, a power of two.
	Queues() []int
	// Config returns the configuration that the driver reads now. The returned
	// slice must not change while the caller may read it: a device whose
	// configuration changes returns a copy, or replaces the slice.
	Config() []byte
	// SetConfig handles a write of the driver to the configuration. It ignores
	// bytes beyond the configuration and bytes that the driver may not write.
	SetConfig(off int, p []byte)
	// Start starts the device with the features that the driver accepted. The
	// driver has set DRIVER_OK. A queue that the driver did not set up has size 0.
	// If Start returns an error, the driver asked for something impossible and the
	// device is not started.
	Start(features uint64, queues []Queue, bus Bus) error
	// Stop stops the device for a reset. When Stop returns, the device no longer
	// uses guest memory or queues. Stop is called once for each Start that
	// returned no error.
	Stop()
}

// Queue is a queue that the driver has set up.
type Queue struct {
	virtqueue.Layout
	Kick *event.Event // the transport signals it when the driver notifies the device
	Call *event.Event // the device signals it to interrupt the driver
}

// Bus is the transport as the device sees it. A device may call its methods
// from any goroutine, from the call of Start on. Calls after Stop has returned
// have no effect. The methods never wait for a Device method: Stop may wait for
// a goroutine that is calling one of them.
type Bus interface {
	// ConfigChanged interrupts the driver so that it reads the configuration
	// again.
	ConfigChanged()
	// Fail reports that the device cannot continue (DEVICE_NEEDS_RESET, §2.1.2):
	// the driver broke the protocol, or the backend of the device is permanently
	// gone.
	Fail(err error)
}
