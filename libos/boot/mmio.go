package boot

// Message-signalled interrupts of virtio-mmio, which the specification (virtio
// 1.2 §4.2) does not have: our own monitor has them for the machines that it
// makes, which have no interrupt controller with pins. They are in use where
// VendorID (0x00c) reads MMIOVendor.
//
// Three registers, 32 bits each and only written, hold a message's address and
// data (Intel SDM 3A §11.11). They are of the queue that QueueSel (0x030) names,
// or of changes of the configuration where it is MMIOConfigSel. The write of the
// data has that queue, or changes of the configuration, raise the message from
// then on, until another write: also after a reset. A message that cannot be
// raised makes the device need a reset (§2.1.2). Registers of addresses, those of
// queues among them, hold 0 after a reset.
//
// InterruptStatus (0x060) tells of changes of the configuration alone, and none
// has to be acknowledged for the next message to come.
const (
	MMIOVendor         = 0x48544950 // "PITH"
	MMIOMessageAddr    = 0x0d0      // low half
	MMIOMessageAddrTop = 0x0d4      // high half
	MMIOMessageData    = 0x0d8
	MMIOConfigSel      = 0xffffffff
)
