// Package feature has the feature bits of a network card (virtio 1.2 §5.1.3).
// The bits of all devices are in package device.
package feature

// Feature bits. The guest's ones are what the driver can receive, the host's
// ones what the device can.
const (
	Csum      = 1 << 0  // VIRTIO_NET_F_CSUM
	GuestCsum = 1 << 1  // VIRTIO_NET_F_GUEST_CSUM
	MTU       = 1 << 3  // VIRTIO_NET_F_MTU
	MAC       = 1 << 5  // VIRTIO_NET_F_MAC
	GuestTSO4 = 1 << 7  // VIRTIO_NET_F_GUEST_TSO4
	GuestTSO6 = 1 << 8  // VIRTIO_NET_F_GUEST_TSO6
	HostTSO4  = 1 << 11 // VIRTIO_NET_F_HOST_TSO4
	HostTSO6  = 1 << 12 // VIRTIO_NET_F_HOST_TSO6
	Mergeable = 1 << 15 // VIRTIO_NET_F_MRG_RXBUF
	Control   = 1 << 17 // VIRTIO_NET_F_CTRL_VQ
	Multi     = 1 << 22 // VIRTIO_NET_F_MQ

	// GuestOffload are the bits of packets that the driver receives.
	GuestOffload = GuestCsum | GuestTSO4 | GuestTSO6
	// Offload are the bits of packets in both directions.
	Offload = Csum | HostTSO4 | HostTSO6 | GuestOffload
)
