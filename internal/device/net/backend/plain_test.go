package backend

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/pith-os/pith/internal/link"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// segment returns a TCP segment as the gateway's stack writes it. Its checksum is
// partial. If mss is not 0, the segment is large and is to be cut at mss bytes.
func segment(v4 bool, data []byte, mss int) []byte {
	const options = 12
	tcpLen := header.TCPMinimumSize + options
	ipLen := header.IPv6MinimumSize
	if v4 {
		ipLen = header.IPv4MinimumSize
	}
	b := make([]byte, 12+14+ipLen+tcpLen+len(data))
	le := binary.LittleEndian
	b[0] = 1
	le.PutUint16(b[6:], uint16(14+ipLen))
	le.PutUint16(b[8:], header.TCPChecksumOffset)
	le.PutUint16(b[10:], 1)
	typ := header.IPv6ProtocolNumber
	src, dst := tcpip.AddrFrom16([16]byte{0xfd, 15: 2}), tcpip.AddrFrom16([16]byte{0xfd, 15: 15})
	if v4 {
		typ = header.IPv4ProtocolNumber
		src, dst = tcpip.AddrFrom4([4]byte{10, 0, 2, 2}), tcpip.AddrFrom4([4]byte{10, 0, 2, 15})
	}
	if mss > 0 {
		b[1] = 4
		if v4 {
			b[1] = 1
		}
		le.PutUint16(b[4:], uint16(mss))
	}
	eth := header.Ethernet(b[12:])
	eth.Encode(&header.EthernetFields{Type: typ})
	l4 := uint16(tcpLen + len(data))
	if v4 {
		ip := header.IPv4(b[26:])
		ip.Encode(&header.IPv4Fields{TotalLength: uint16(ipLen) + l4, ID: 0xffff, TTL: 64, Protocol: 6, SrcAddr: src, DstAddr: dst})
		ip.SetChecksum(^ip.CalculateChecksum())
	} else {
		header.IPv6(b[26:]).Encode(&header.IPv6Fields{PayloadLength: l4, TransportProtocol: 6, HopLimit: 64, SrcAddr: src, DstAddr: dst})
	}
	tcp := header.TCP(b[26+ipLen:])
	tcp.Encode(&header.TCPFields{SrcPort: 80, DstPort: 1000, SeqNum: 0xfffffff0, DataOffset: uint8(tcpLen),
		Flags: header.TCPFlagAck | header.TCPFlagPsh | header.TCPFlagFin | 0x80})
	tcp.SetChecksum(header.PseudoHeaderChecksum(6, src, dst, l4))
	copy(b[26+ipLen+tcpLen:], data)
	return b
}

// checkSegment checks a segment as a receiver does, and returns its data.
func checkSegment(t *testing.T, v4 bool, b []byte, seq uint32, first, last bool) []byte {
	t.Helper()
	if !bytes.Equal(b[:10], make([]byte, 10)) {
		t.Errorf("the virtio-net header asks for offload: % x", b[:12])
	}
	var src, dst tcpip.Address
	var tcp header.TCP
	if v4 {
		ip := header.IPv4(b[26:])
		if !ip.IsValid(len(ip)) || !ip.IsChecksumValid() || int(ip.TotalLength()) != len(ip) {
			t.Error("the IPv4 header is not valid")
		}
		src, dst, tcp = ip.SourceAddress(), ip.DestinationAddress(), ip.Payload()
	} else {
		ip := header.IPv6(b[26:])
		if !ip.IsValid(len(ip)) || int(ip.PayloadLength()) != len(ip)-header.IPv6MinimumSize {
			t.Error("the IPv6 header is not valid")
		}
		src, dst, tcp = ip.SourceAddress(), ip.DestinationAddress(), ip.Payload()
	}
	if !tcp.IsChecksumValid(src, dst, checksum.Checksum(tcp.Payload(), 0), uint16(len(tcp.Payload()))) {
		t.Error("the TCP checksum is wrong")
	}
	if tcp.SequenceNumber() != seq {
		t.Errorf("sequence number %#x, not %#x", tcp.SequenceNumber(), seq)
	}
	flags := header.TCPFlagAck
	if first {
		flags |= 0x80
	}
	if last {
		flags |= header.TCPFlagPsh | header.TCPFlagFin
	}
	if tcp.Flags() != flags {
		t.Errorf("flags %#x, not %#x", tcp.Flags(), flags)
	}
	return tcp.Payload()
}

func TestDriverWithoutOffloadGetsPlainPackets(t *testing.T) {
	for _, v4 := range []bool{true, false} {
		for _, size := range []int{0, 1, 1447, 1448, 1449, 20001} {
			t.Run(fmt.Sprintf("v4=%t,%d bytes", v4, size), func(t *testing.T) {
				g := newGuest(t, 1, version1)
				// At first there is room for some of the segments.
				posted := g.post(0, 3, 1600)
				data := pattern(12 + size)[12:]
				mss := 1448
				if size <= mss {
					mss = 0
				}
				done := make(chan error)
				go func() { done <- g.card.WritePackets([]link.Packet{{segment(v4, data, mss)}}) }()
				posted = append(posted, g.post(0, 20, 1600)...)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				var got []byte
				for first := true; first || len(got) < len(data); first = false {
					var b []byte
					b, posted = g.received(0, posted)
					last := len(got)+1448 >= len(data)
					got = append(got, checkSegment(t, v4, b, 0xfffffff0+uint32(len(got)), first, last)...)
				}
				if !bytes.Equal(got, data) {
					t.Error("the data differs")
				}
				if _, _, ok := g.queues[0].Take(); ok {
					t.Error("there is one segment too many")
				}
			})
		}
	}
}

func TestDriverGetsTheOffloadThatItAccepted(t *testing.T) {
	for _, test := range []struct {
		name     string
		features uint64
		v4       bool
		whole    bool
	}{
		{"TSO4 for IPv4", guestCsum | guestTSO4, true, true},
		{"TSO4 for IPv6", guestCsum | guestTSO4, false, false},
		{"TSO6 for IPv6", guestCsum | guestTSO6, false, true},
		{"TSO6 for IPv4", guestCsum | guestTSO6, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, 1, version1|mrgRxbuf|test.features)
			posted := g.post(0, 20, 1600)
			want := segment(test.v4, pattern(3000), 1448)
			if err := g.card.WritePackets([]link.Packet{{want}}); err != nil {
				t.Fatal(err)
			}
			got, _ := g.received(0, posted)
			if (len(got) == len(want)) != test.whole {
				t.Errorf("a packet of %d bytes came as one of %d", len(want), len(got))
			}
			if test.whole && (got[0] != 1 || got[1] != want[1]) {
				t.Errorf("the header is % x", got[:12])
			}
		})
	}
	t.Run("verified, without checksums", func(t *testing.T) {
		g := newGuest(t, 1, version1)
		posted := g.post(0, 1, 1600)
		p := pattern(100)
		p[0] = 2
		if err := g.card.WritePackets([]link.Packet{{p}}); err != nil {
			t.Fatal(err)
		}
		if got, _ := g.received(0, posted); got[0] != 0 || !bytes.Equal(got[12:], p[12:]) {
			t.Errorf("% x", got)
		}
	})
}
