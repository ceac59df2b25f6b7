package vsock

// Header is the header of a packet, struct virtio_vsock_hdr (virtio 1.2
// §5.10.6).
type Header struct {
	SrcCID, DstCID   uint64
	SrcPort, DstPort uint32
	Len              uint32 // bytes of data that follow
	Type, Op         uint16
	Flags            uint32
	BufAlloc, FwdCnt uint32 // credit: the sender's buffer space, and the bytes that left that buffer
}

// HeaderSize is the size of a header in bytes.
const HeaderSize = 44

// typeStream is the type of packets of SOCK_STREAM.
const typeStream = 1

// Operations (§5.10.6).
const (
	opRequest       = 1 // connect
	opResponse      = 2
	opReset         = 3
	opShutdown      = 4
	opData          = 5 // VIRTIO_VSOCK_OP_RW
	opCreditUpdate  = 6
	opCreditRequest = 7
)

// Flags of opShutdown: the sender will not receive any more, or not send any
// more.
const (
	shutReceive = 1
	shutSend    = 2
	shutBoth    = shutReceive | shutSend
)

// Put stores the header in little-endian order in the first HeaderSize bytes of
// p.
func (h *Header) Put(p []byte) {
	p = p[:0]
	number := func(v uint64, size int) {
		for i := range size {
			p = append(p, byte(v>>(8*i)))
		}
	}
	number(h.SrcCID, 8)
	number(h.DstCID, 8)
	for _, v := range [...]uint32{h.SrcPort, h.DstPort, h.Len, uint32(h.Type) | uint32(h.Op)<<16, h.Flags, h.BufAlloc, h.FwdCnt} {
		number(uint64(v), 4)
	}
}

// ParseHeader reads the first HeaderSize bytes of p.
func ParseHeader(p []byte) (h Header) {
	number := func(size int) (v uint64) {
		for i, b := range p[:size] {
			v |= uint64(b) << (8 * i)
		}
		p = p[size:]
		return v
	}
	h.SrcCID, h.DstCID = number(8), number(8)
	h.SrcPort, h.DstPort = uint32(number(4)), uint32(number(4))
	h.Len = uint32(number(4))
	h.Type, h.Op = uint16(number(2)), uint16(number(2))
	h.Flags, h.BufAlloc, h.FwdCnt = uint32(number(4)), uint32(number(4)), uint32(number(4))
	return h
}
