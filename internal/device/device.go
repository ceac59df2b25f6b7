// Package device says what a virtio device is to the transport that a driver
// reaches it by, and has what the devices of this monitor share. The devices
// are the packages below it, their transport is package mmio; they know nothing
// of KVM. A device whose queues somebody else works on, another process or the
// host's kernel (vhost), is one like the others.
//
// The driver is not trusted. What it says to the transport is checked there;
// what it leaves in its queues, by package virtqueue and by the device.
package device

import (
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
)

// Feature bits of all devices (virtio 1.2 §6).
const (
	FeatureIndirect = 1 << 28 // VIRTIO_F_INDIRECT_DESC
	FeatureEventIdx = 1 << 29 // VIRTIO_F_EVENT_IDX
	FeatureVersion1 = 1 << 32 // VIRTIO_F_VERSION_1

	// FeaturesOfQueues are what package virtqueue can do, for the devices
	// that use it.
	FeaturesOfQueues = FeatureIndirect | FeatureEventIdx | FeatureVersion1
)

// Device numbers (§5).
const (
	IDNet     = 1
	IDBlock   = 2
	IDConsole = 3
	IDEntropy = 4
	IDBalloon = 5
	IDNineP   = 9
	IDSocket  = 19
)

// Device is a virtio device. Its transport makes all calls, one at a time.
type Device interface {
	// ID is the device's number.
	ID() uint32
	// Features are the bits that the driver may accept. It must accept
	// VERSION_1.
	Features() uint64
	// Queues is the largest size of each queue, a power of two.
	Queues() []int
	// Config is the configuration as the driver reads it now. Nobody changes
	// what was returned while another may read it: a configuration that the
	// host changes is one that is copied, or replaced.
	Config() []byte
	// SetConfig is a write of the driver's to the configuration. What lies
	// beyond it, or is not the driver's to write, is ignored.
	SetConfig(off int, p []byte)
	// Start has the device begin, with the features that the driver
	// accepted: it is live (DRIVER_OK). Queues that the driver has not set
	// up have a size of 0. An error says that the driver asked for what
	// cannot be, and that the device has not begun.
	Start(features uint64, queues []Queue, bus Bus) error
	// Stop ends what Start began: the device is reset, and neither memory
	// nor queues are used when Stop has returned. It is called once for each
	// Start without an error.
	Stop()
}

// Queue is one queue that the driver has set up.
type Queue struct {
	virtqueue.Layout
	Kick *event.Event // signalled when the driver notifies the device
	Call *event.Event // to be signalled when the driver wants to be notified
}

// Bus is what a device that is being or has been started may tell its transport,
// from any goroutine, until Stop has returned; what comes later is ignored. It
// waits for no other call: Stop may wait for a goroutine that has something to
// tell.
type Bus interface {
	// ConfigChanged tells the driver to read the configuration again.
	ConfigChanged()
	// Fail says that the device cannot go on (DEVICE_NEEDS_RESET, §2.1.2):
	// the driver lied, or what is behind the device is gone for good.
	Fail(err error)
}
