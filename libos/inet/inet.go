// Package inet is TCP/IP. It has sockets of AF_INET, AF_INET6, AF_PACKET and
// AF_NETLINK over gVisor's network stack. Its link endpoint carries packets to
// the gateway or to a virtio-net device, and is configured by DHCP and router
// advertisements where the boot parameters have no addresses. On the published
// ports of a confined process, the connections are the host's own and bypass
// the stack.
//
// It stands on packages socket, virtio and platform. Package net imports it, so
// a program without net has no TCP/IP in its image. It must not import net
// itself. Its init registers the address families. The stack is made with the
// first socket.
package inet

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

func init() {
	socket.Register(linux.AF_INET, socket.Family{New: func(typ, proto int) (socket.Socket, linux.Errno) {
		return open(linux.AF_INET, typ, proto)
	}})
	socket.Register(linux.AF_INET6, socket.Family{New: func(typ, proto int) (socket.Socket, linux.Errno) {
		return open(linux.AF_INET6, typ, proto)
	}})
	socket.Register(linux.AF_PACKET, socket.Family{New: openPacket})
	socket.Register(linux.AF_NETLINK, socket.Family{New: openNetlink})
	if platform.VM() {
		startVM(platform.Config().Net)
	}
}

// open is socket(2) of AF_INET and AF_INET6.
func open(domain, typ, proto int) (socket.Socket, linux.Errno) {
	stream := typ == linux.SOCK_STREAM && (proto == 0 || proto == linux.IPPROTO_TCP)
	datagram := typ == linux.SOCK_DGRAM && (proto == 0 || proto == linux.IPPROTO_UDP)
	switch mode := sockets(); {
	case mode.Whole():
		return openNs(domain, typ, proto)
	case mode == boot.SocketsOut && stream:
		return newHostStream(domain), 0
	case mode == boot.SocketsOut && datagram:
		return newHostDatagram(domain), 0
	}
	return openStack(domain, typ, proto)
}

// openNs makes a socket of a network namespace of the host. Raw sockets need a capability
// there, which an image never has.
func openNs(domain, typ, proto int) (socket.Socket, linux.Errno) {
	ping := linux.IPPROTO_ICMP
	if domain == linux.AF_INET6 {
		ping = linux.IPPROTO_ICMPV6
	}
	switch {
	case proto < 0 || proto >= linux.IPPROTO_MAX:
		return nil, linux.EINVAL
	case typ == linux.SOCK_STREAM && (proto == 0 || proto == linux.IPPROTO_TCP):
		return newNsStream(domain), 0
	case typ == linux.SOCK_DGRAM && (proto == 0 || proto == linux.IPPROTO_UDP || proto == ping):
		return newNsDatagram(domain, proto), 0
	case typ == linux.SOCK_RAW:
		return nil, linux.EPERM
	case typ == linux.SOCK_STREAM, typ == linux.SOCK_DGRAM:
		return nil, linux.EPROTONOSUPPORT
	}
	return nil, linux.ESOCKTNOSUPPORT
}

// openStack makes a socket of the stack.
func openStack(domain, typ, proto int) (tableSocket, linux.Errno) {
	if proto < 0 || proto >= linux.IPPROTO_MAX {
		return nil, linux.EINVAL
	}
	netProto, icmpProto, icmpTransport := ipv4.ProtocolNumber, linux.IPPROTO_ICMP, icmp.ProtocolNumber4
	if domain == linux.AF_INET6 {
		netProto, icmpProto, icmpTransport = ipv6.ProtocolNumber, linux.IPPROTO_ICMPV6, icmp.ProtocolNumber6
	}
	q := new(waiter.Queue)
	var ep tcpip.Endpoint
	var err tcpip.Error
	switch {
	case typ == linux.SOCK_STREAM && (proto == 0 || proto == linux.IPPROTO_TCP):
		proto = linux.IPPROTO_TCP
		ep, err = network().NewEndpoint(tcp.ProtocolNumber, netProto, q)
	case typ == linux.SOCK_DGRAM && (proto == 0 || proto == linux.IPPROTO_UDP):
		proto = linux.IPPROTO_UDP
		ep, err = network().NewEndpoint(udp.ProtocolNumber, netProto, q)
	case typ == linux.SOCK_DGRAM && proto == icmpProto:
		ep, err = network().NewEndpoint(icmpTransport, netProto, q)
	case typ == linux.SOCK_RAW && proto != 0 && !cred.Has(linux.CAP_NET_RAW):
		return nil, linux.EPERM
	case typ == linux.SOCK_RAW && proto != 0:
		ep, err = network().NewRawEndpoint(tcpip.TransportProtocolNumber(proto), netProto, q, proto != linux.IPPROTO_RAW)
	case typ == linux.SOCK_STREAM, typ == linux.SOCK_DGRAM, typ == linux.SOCK_RAW:
		return nil, linux.EPROTONOSUPPORT
	default:
		return nil, linux.ESOCKTNOSUPPORT
	}
	if err != nil {
		return nil, errnoOf(err)
	}
	if typ == linux.SOCK_STREAM {
		ep.SocketOptions().SetDelayOption(true) // Nagle's algorithm, until TCP_NODELAY
		return newStream(domain, ep, q), 0
	}
	return newDatagram(domain, typ, proto, ep, q), 0
}
