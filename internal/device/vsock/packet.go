package vsock

import "encoding/binary"

// header is struct virtio_vsock_hdr (virtio 1.2 §5.10.6).
type header struct {
	srcCID, dstCID   uint64
	srcPort, dstPort uint32
	len              uint32 // length of the data that follow the header
	typ, op          uint16
	flags            uint32
	alloc, forwarded uint32 // credit: buf_alloc and fwd_cnt of the sender
}

const headerSize = 44

// typeStream is the type of stream sockets.
const typeStream = 1

// Operations.
const (
	opRequest       = 1 // connect
	opResponse      = 2
	opReset         = 3
	opShutdown      = 4
	opData          = 5 // VIRTIO_VSOCK_OP_RW
	opCreditUpdate  = 6
	opCreditRequest = 7
)

// Flags of opShutdown: the sender will not receive, or not send, any more.
const (
	shutReceive = 1
	shutSend    = 2
	shutBoth    = shutReceive | shutSend
)

func parseHeader(b *[headerSize]byte) header {
	le := binary.LittleEndian
	return header{
		srcCID: le.Uint64(b[0:]), dstCID: le.Uint64(b[8:]),
		srcPort: le.Uint32(b[16:]), dstPort: le.Uint32(b[20:]),
		len: le.Uint32(b[24:]), typ: le.Uint16(b[28:]), op: le.Uint16(b[30:]),
		flags: le.Uint32(b[32:]), alloc: le.Uint32(b[36:]), forwarded: le.Uint32(b[40:]),
	}
}

func (h *header) put(b *[headerSize]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.srcCID)
	le.PutUint64(b[8:], h.dstCID)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.len)
	le.PutUint16(b[28:], h.typ)
	le.PutUint16(b[30:], h.op)
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.alloc)
	le.PutUint32(b[40:], h.forwarded)
}

// refusal returns the reset that answers a packet without a connection.
func (h *header) refusal() header {
	return header{
		srcCID: h.dstCID, dstCID: h.srcCID, srcPort: h.dstPort, dstPort: h.srcPort, typ: h.typ, op: opReset,
	}
}

// gather fills p from pieces.
func gather(p []byte, pieces [][]byte) {
	for _, from := range pieces {
		p = p[copy(p, from):]
	}
}

// scatter copies p to pieces.
func scatter(pieces [][]byte, p []byte) {
	for _, to := range pieces {
		p = p[copy(to, p):]
	}
}
