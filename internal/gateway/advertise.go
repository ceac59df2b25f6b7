package gateway

import (
	"context"
	"encoding/binary"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

const (
	// routerLifetime is how long an advertisement is valid (RFC 4861 §6.2.1).
	// advertiseEvery is how often the gateway sends one unasked.
	routerLifetime = 30 * time.Minute
	advertiseEvery = 10 * time.Minute
)

// advertise announces the IPv6 network until ctx ends.
func (g *Gateway) advertise(ctx context.Context) {
	tick := time.NewTicker(advertiseEvery)
	defer tick.Stop()
	for {
		g.sendAdvertisement()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// sendAdvertisement sends a router advertisement to all nodes. A lost one is
// repeated later.
func (g *Gateway) sendAdvertisement() {
	_ = g.stack.WritePacketToRemote(nicID, header.EthernetAddressFromMulticastIPv6Address(header.IPv6AllNodesMulticastAddress),
		ipv6.ProtocolNumber, buffer.MakeWithData(g.routerAdvertisement()))
}

// routerAdvertisement returns an IPv6 packet (RFC 4861 §4.2) that announces the
// gateway as router, the prefix for SLAAC, the MTU and the name server (RFC 8106
// §5.1).
func (g *Gateway) routerAdvertisement() []byte {
	be := binary.BigEndian
	seconds := uint32(routerLifetime / time.Second)

	ra := []byte{byte(header.ICMPv6RouterAdvert), 0, 0, 0, ipv6.DefaultTTL, 0}
	ra = be.AppendUint16(ra, uint16(seconds))
	ra = be.AppendUint32(ra, 0) // reachable time: unspecified
	ra = be.AppendUint32(ra, 0) // retransmission timer: unspecified

	ra = append(append(ra, 1, 1), g.addrs.mac...) // source link-layer address

	ra = be.AppendUint32(append(ra, 5, 1, 0, 0), uint32(g.cfg.MTU))

	const onLink, autonomous = 0x80, 0x40
	ra = append(ra, 3, 4, byte(g.cfg.Prefix6.Bits()), onLink|autonomous)
	ra = be.AppendUint32(ra, ^uint32(0)) // valid forever
	ra = be.AppendUint32(ra, ^uint32(0)) // and preferred
	ra = be.AppendUint32(ra, 0)
	ra = append(ra, g.cfg.Prefix6.Addr().AsSlice()...)

	ra = be.AppendUint32(append(ra, 25, 3, 0, 0), seconds)
	ra = append(ra, g.addrs.dns6.AsSlice()...)

	src, dst := toStack(g.addrs.linkLocal), header.IPv6AllNodesMulticastAddress
	sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, src, dst, uint16(len(ra)))
	be.PutUint16(ra[2:], ^checksum.Checksum(ra, sum))

	packet := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(ra))
	header.IPv6(packet).Encode(&header.IPv6Fields{
		PayloadLength:     uint16(len(ra)),
		TransportProtocol: header.ICMPv6ProtocolNumber,
		HopLimit:          header.NDPHopLimit,
		SrcAddr:           src,
		DstAddr:           dst,
	})
	return append(packet, ra...)
}
