package gateway

import "github.com/pith-os/pith/libos/boot"

// frameLink is a Link over a socket that carries Ethernet frames without the
// virtio-net header, and so without offload either way.
type frameLink struct {
	*socketLink
	in, out []Packet // pieces behind the header
}

// NewFrameLink is a link over fd, a connected SOCK_SEQPACKET unix socket with
// one Ethernet frame a message. It owns fd unless it fails. For QEMU, which takes any socket that keeps messages
// apart, the other end is descriptor 3 of
//
//	-netdev dgram,id=net,local.type=fd,local.str=3 -device virtio-net-pci,netdev=net
func NewFrameLink(fd int) (Link, error) {
	l, err := NewSocketLink(fd)
	if err != nil {
		return nil, err
	}
	return &frameLink{socketLink: l.(*socketLink)}, nil
}

// NoOffload says that frames go without virtio-net headers.
func (l *frameLink) NoOffload() bool { return true }

func (l *frameLink) ReadPackets(pkts []Packet, sizes []int) (int, error) {
	l.in = withoutHeader(l.in, pkts)
	n, err := l.socketLink.ReadPackets(l.in, sizes)
	for i := range n {
		if sizes[i] > 0 {
			clearHeader(pkts[i])
			sizes[i] += boot.VirtioNetHeaderSize
		}
	}
	return n, err
}

func (l *frameLink) WritePackets(pkts []Packet) error {
	l.out = withoutHeader(l.out, pkts)
	return l.socketLink.WritePackets(l.out)
}

// withoutHeader makes dst the packets of pkts without their headers.
func withoutHeader(dst, pkts []Packet) []Packet {
	for len(dst) < len(pkts) {
		dst = append(dst, nil)
	}
	dst = dst[:len(pkts)]
	for i, pkt := range pkts {
		dst[i] = dst[i][:0]
		skip := boot.VirtioNetHeaderSize
		for _, piece := range pkt {
			n := min(skip, len(piece))
			skip -= n
			dst[i] = append(dst[i], piece[n:])
		}
	}
	return dst
}

func clearHeader(pkt Packet) {
	left := boot.VirtioNetHeaderSize
	for _, piece := range pkt {
		n := min(left, len(piece))
		clear(piece[:n])
		left -= n
	}
}
