package boot

// Message-signalled interrupts of virtio-mmio. The specification (virtio 1.2 §4.2)
// does not have them. Our own monitor does, as its VMs have no interrupt controller
// with pins. A device uses them if VendorID (0x00c) reads MMIOVendor.
//
// Three registers of 32 bits, which are only written, hold a message's address and
// data (Intel SDM 3A §11.11). They belong to the queue that QueueSel (0x030) names,
// or to changes of the configuration if QueueSel is MMIOConfigSel. After the write
// of the data, that queue raises the message, or each change of the configuration
// does. This lasts until the next write, also across a reset. A device whose
// message cannot be raised needs a reset (§2.1.2). Registers of addresses, those of
// queues included, hold 0 after a reset.
//
// InterruptStatus (0x060) shows changes of the configuration only. The next message
// comes whether or not the driver has acknowledged the last one.
const (
	MMIOVendor         = 0x48544950 // "PITH"
	MMIOMessageAddr    = 0x0d0      // low half
	MMIOMessageAddrTop = 0x0d4      // high half
	MMIOMessageData    = 0x0d8
	MMIOConfigSel      = 0xffffffff
)
