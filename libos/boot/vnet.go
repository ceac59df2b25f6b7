package boot

// VirtioNetHeaderSize is the size in bytes of struct virtio_net_hdr with
// num_buffers (virtio 1.2 §5.1.6), which precedes each frame.
const VirtioNetHeaderSize = 12

// MaxFrame is the largest message on FDPackets, in bytes: a virtio-net header
// and a segment of 64 KiB with its link header.
const MaxFrame = VirtioNetHeaderSize + 14 + 65535

// Values of VnetHeader.Flags.
const (
	VnetNeedsCsum = 1 // the receiver completes the checksum: its field has the pseudo-header's sum
	VnetDataValid = 2 // the checksum has been verified
)

// Values of VnetHeader.GSOType.
const (
	VnetGSONone  = 0
	VnetGSOTCPv4 = 1
	VnetGSOTCPv6 = 4
	VnetGSOECN   = 0x80 // or-ed to the type: the segment has CWR set
)

// VnetHeader is struct virtio_net_hdr (virtio 1.2 §5.1.6): the work on a frame that
// one side of a network card leaves to the other.
type VnetHeader struct {
	Flags      uint8
	GSOType    uint8
	HdrLen     uint16 // of the headers before the payload of a large segment
	GSOSize    uint16 // payload of each of the segments that the frame becomes
	CsumStart  uint16 // where the checksummed bytes begin in the frame
	CsumOffset uint16 // where the checksum is, from CsumStart
	NumBuffers uint16 // number of buffers that a received frame is spread over
}

// Put writes the header in its little-endian form to the first
// VirtioNetHeaderSize bytes of b.
func (h *VnetHeader) Put(b []byte) {
	_ = b[VirtioNetHeaderSize-1]
	b[0], b[1] = h.Flags, h.GSOType
	b[2], b[3] = byte(h.HdrLen), byte(h.HdrLen>>8)
	b[4], b[5] = byte(h.GSOSize), byte(h.GSOSize>>8)
	b[6], b[7] = byte(h.CsumStart), byte(h.CsumStart>>8)
	b[8], b[9] = byte(h.CsumOffset), byte(h.CsumOffset>>8)
	b[10], b[11] = byte(h.NumBuffers), byte(h.NumBuffers>>8)
}

// ParseVnetHeader reads what Put writes. It does not judge the values: the caller
// does, if it does not trust the other side.
func ParseVnetHeader(b []byte) VnetHeader {
	_ = b[VirtioNetHeaderSize-1]
	return VnetHeader{
		Flags:      b[0],
		GSOType:    b[1],
		HdrLen:     uint16(b[2]) | uint16(b[3])<<8,
		GSOSize:    uint16(b[4]) | uint16(b[5])<<8,
		CsumStart:  uint16(b[6]) | uint16(b[7])<<8,
		CsumOffset: uint16(b[8]) | uint16(b[9])<<8,
		NumBuffers: uint16(b[10]) | uint16(b[11])<<8,
	}
}
