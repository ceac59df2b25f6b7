package backend

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"
)

// steering chooses the pair that receives a packet: the one that transmitted the
// last packet of the same flow (§5.1.6.5.6). While that pair is disabled it is
// another one. Flows with the same hash share a pair.
type steering struct {
	pairs   [256]atomic.Uint32 // by hash of the flow
	enabled atomic.Uint64      // one bit for each pair
}

func (s *steering) enable(pair int, on bool) {
	if on {
		s.enabled.Or(1 << pair)
	} else {
		s.enabled.And(^uint64(1 << pair))
	}
}

// learn records that the guest transmitted pkt on pair.
func (s *steering) learn(pkt link.Packet, pair int) {
	if e := &s.pairs[flow(pkt)]; e.Load() != uint32(pair) {
		e.Store(uint32(pair))
	}
}

// choose returns the pair for pkt.
func (s *steering) choose(pkt link.Packet) int {
	enabled := s.enabled.Load()
	if enabled <= 1 {
		return 0
	}
	if pair := int(s.pairs[flow(pkt)].Load()); enabled&(1<<pair) != 0 {
		return pair
	}
	return bits.TrailingZeros64(enabled)
}

// run returns the pair for the first of pkts, and the number of packets from the
// first on that go to this pair.
func (s *steering) run(pkts []link.Packet) (pair, n int) {
	pair = s.choose(pkts[0])
	for n = 1; n < len(pkts) && s.choose(pkts[n]) == pair; n++ {
	}
	return pair, n
}

// flow returns a hash of a packet's addresses and ports. It is the same for both
// directions. For a packet that is not a whole TCP or UDP packet, it only matters
// that equal packets have equal hashes.
func flow(pkt link.Packet) uint8 {
	const (
		ethernet = 14
		ipv4     = boot.VirtioNetHeaderSize + ethernet
		size     = ipv4 + 44
	)
	var b [size]byte
	gather([][]byte{b[:]}, pkt)
	word := func(off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
	var sum uint32
	switch binary.BigEndian.Uint16(b[ipv4-2:]) {
	case 0x0800:
		ports := ipv4 + 4*int(b[ipv4]&0xf)
		sum = word(ipv4+12) ^ word(ipv4+16)
		if ports <= size-4 {
			sum ^= symmetric(b[ports:])
		}
	case 0x86dd:
		for off := ipv4 + 8; off < ipv4+40; off += 4 {
			sum ^= word(off)
		}
		sum ^= symmetric(b[ipv4+40:])
	}
	return uint8(sum * 0x9e3779b1 >> 24)
}

// symmetric returns two ports as one number that does not depend on their order.
func symmetric(b []byte) uint32 {
	x, y := uint32(binary.BigEndian.Uint16(b)), uint32(binary.BigEndian.Uint16(b[2:]))
	return min(x, y)<<16 | max(x, y)
}
