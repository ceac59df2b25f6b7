package link

import "github.com/pith-os/pith/libos/boot"

// frameLink is a Link over a socket that carries Ethernet frames without the
// virtio-net header. It has no offload either way.
type frameLink struct {
	socket  *socketLink
	in, out []Packet // reused: packets without their headers
}

// NewFrames returns a link over fd, a connected SOCK_SEQPACKET unix socket with
// one Ethernet frame per message. The link owns fd unless NewFrames fails. QEMU
// takes any socket that keeps messages apart. If the other end is QEMU's
// descriptor 3, its arguments are
//
//	-netdev dgram,id=net,local.type=fd,local.str=3 -device virtio-net-pci,netdev=net
func NewFrames(fd int) (Link, error) {
	l, err := newSocket(fd)
	if err != nil {
		return nil, err
	}
	return &frameLink{socket: l}, nil
}

// ReadPackets implements Link.
func (l *frameLink) ReadPackets(pkts []Packet, sizes []int) (int, error) {
	l.in = withoutHeader(l.in, pkts)
	n, err := l.socket.ReadPackets(l.in, sizes)
	for i := range n {
		if sizes[i] > 0 {
			clearHeader(pkts[i])
			sizes[i] += boot.VirtioNetHeaderSize
		}
	}
	return n, err
}

// WritePackets implements Link.
func (l *frameLink) WritePackets(pkts []Packet) error {
	l.out = withoutHeader(l.out, pkts)
	return l.socket.WritePackets(l.out)
}

// Offload implements Link: without a header there is no place to ask for it.
func (l *frameLink) Offload() bool { return false }

// Done implements Link.
func (l *frameLink) Done() <-chan struct{} { return l.socket.Done() }

// Close implements Link.
func (l *frameLink) Close() error { return l.socket.Close() }

// withoutHeader sets dst to pkts without their headers and returns it.
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

// clearHeader sets the virtio-net header of pkt to zero.
func clearHeader(pkt Packet) {
	left := boot.VirtioNetHeaderSize
	for _, piece := range pkt {
		n := min(left, len(piece))
		clear(piece[:n])
		left -= n
	}
}
