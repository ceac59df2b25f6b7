package backend

import (
	"encoding/binary"

	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"
)

// accepts reports whether a driver with the given features accepts pkt as it is
// (§5.1.6.4.1).
func accepts(features uint64, pkt link.Packet) bool {
	if features&feature.GuestOffload == feature.GuestOffload {
		return true
	}
	var h [2]byte // flags, gso_type
	gather([][]byte{h[:]}, pkt)
	switch h[1] {
	case boot.VnetGSOTCPv4:
		return features&feature.GuestTSO4 != 0
	case boot.VnetGSOTCPv6:
		return features&feature.GuestTSO6 != 0
	}
	return h[0]&(boot.VnetNeedsCsum|boot.VnetDataValid) == 0 || features&feature.GuestCsum != 0
}

// plainer makes packets that any driver accepts: it computes checksums and cuts
// large segments. Few drivers need it, so it is short rather than fast.
type plainer struct {
	whole []byte
	// done is how many segments of the current packet the driver has. If the
	// queue was full then, the packet is put again.
	done int
}

// put is ring.put for a packet that the driver does not accept as it is. It drops
// malformed packets.
func (p *plainer) put(r *ring, pkt link.Packet) (bool, error) {
	n := length(pkt)
	if cap(p.whole) < n {
		p.whole = make([]byte, n)
	}
	b := p.whole[:n]
	gather([][]byte{b}, pkt)
	if n < boot.VirtioNetHeaderSize {
		return true, nil
	}
	var h [boot.VirtioNetHeaderSize]byte
	copy(h[:], b)
	clear(b[:boot.VirtioNetHeaderSize])
	le := binary.LittleEndian
	if h[1] != boot.VnetGSONone {
		return p.segments(r, b, int(le.Uint16(h[4:])))
	}
	if h[0]&boot.VnetNeedsCsum != 0 {
		start, off := boot.VirtioNetHeaderSize+int(le.Uint16(h[6:])), int(le.Uint16(h[8:]))
		if start+off+2 > n {
			return true, nil
		}
		putSum(b[start+off:], sum(0, b[start:]))
	}
	return r.put(link.Packet{b})
}

// segments cuts the TCP segment in b into segments with mss bytes of data each. b
// begins with a virtio-net header of zeros.
func (p *plainer) segments(r *ring, b []byte, mss int) (bool, error) {
	const (
		ip  = boot.VirtioNetHeaderSize + 14
		fin = 0x01
		psh = 0x08
		cwr = 0x80
	)
	be := binary.BigEndian
	if len(b) < ip+40 || mss == 0 {
		return true, nil
	}
	v4 := b[ip]>>4 == 4
	tcp := ip + 40
	if v4 {
		tcp = ip + 4*int(b[ip]&0xf)
	}
	if len(b) < tcp+20 {
		return true, nil
	}
	data := tcp + 4*int(b[tcp+12]>>4)
	if len(b) < data {
		return true, nil
	}
	id, seq, flags := be.Uint16(b[ip+4:]), be.Uint32(b[tcp+4:]), b[tcp+13]
	for i := p.done; i == 0 || data+i*mss < len(b); i++ {
		payload := b[data+i*mss : min(data+(i+1)*mss, len(b))]
		last := data+(i+1)*mss >= len(b)
		l4 := data - tcp + len(payload)
		var pseudo uint32
		if v4 {
			be.PutUint16(b[ip+2:], uint16(tcp-ip+l4))
			be.PutUint16(b[ip+4:], id+uint16(i))
			be.PutUint16(b[ip+10:], 0)
			putSum(b[ip+10:], sum(0, b[ip:tcp]))
			pseudo = sum(0, b[ip+12:ip+20])
		} else {
			be.PutUint16(b[ip+4:], uint16(l4))
			pseudo = sum(0, b[ip+8:ip+40])
		}
		be.PutUint32(b[tcp+4:], seq+uint32(i*mss))
		b[tcp+13] = flags
		if i > 0 {
			b[tcp+13] &^= cwr
		}
		if !last {
			b[tcp+13] &^= fin | psh
		}
		const protocolTCP = 6
		be.PutUint16(b[tcp+16:], 0)
		putSum(b[tcp+16:], sum(sum(pseudo+protocolTCP+uint32(l4), b[tcp:data]), payload))
		ok, err := r.put(link.Packet{b[:data], payload})
		if !ok || err != nil {
			p.done = i
			return ok, err
		}
	}
	p.done = 0
	return true, nil
}

// sum adds b to a partial internet checksum (RFC 1071) and returns the result.
// Only the last part of a packet may have an odd length.
func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
		s = s&0xffff + s>>16
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s&0xffff + s>>16
}

// putSum stores the checksum of a sum that is complete.
func putSum(b []byte, s uint32) { binary.BigEndian.PutUint16(b, ^uint16(s&0xffff+s>>16)) }
