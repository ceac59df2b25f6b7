package inet

import (
	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/waiter"
)

// packetSocket is a socket of AF_PACKET (packet(7)). It carries frames with
// their link header (SOCK_RAW) or without (SOCK_DGRAM).
type packetSocket struct{ datagram }

// ethAll is ETH_P_ALL: every protocol. The stack has another number for it.
const ethAll = 3

// openPacket is socket(2) of AF_PACKET. proto is in network byte order.
func openPacket(typ, proto int) (socket.Socket, linux.Errno) {
	// In a network namespace of the host, an image has no capability.
	if !cred.Has(linux.CAP_NET_RAW) || sockets().Whole() {
		return nil, linux.EPERM
	}
	if typ != linux.SOCK_RAW && typ != linux.SOCK_DGRAM {
		return nil, linux.ESOCKTNOSUPPORT
	}
	q := new(waiter.Queue)
	ep, err := network().NewPacketEndpoint(typ == linux.SOCK_DGRAM, packetProtocol(swap16(uint16(proto))), q)
	if err != nil {
		return nil, errnoOf(err)
	}
	s := new(packetSocket)
	s.init(linux.AF_PACKET, typ, proto, ep, q)
	return s, 0
}

func swap16(v uint16) uint16 { return v<<8 | v>>8 }

func packetProtocol(ethertype uint16) tcpip.NetworkProtocolNumber {
	if ethertype == ethAll {
		return header.EthernetProtocolAll
	}
	return tcpip.NetworkProtocolNumber(ethertype)
}

// link reads a struct sockaddr_ll.
func (s *packetSocket) link(addr []byte) (tcpip.FullAddress, linux.Errno) {
	a, errno := socket.Get[linux.SockaddrLink](addr)
	if errno != 0 {
		return tcpip.FullAddress{}, errno
	}
	if a.Family != linux.AF_PACKET {
		return tcpip.FullAddress{}, linux.EINVAL
	}
	full := tcpip.FullAddress{
		NIC:  tcpip.NICID(a.Ifindex),
		Port: uint16(packetProtocol(uint16(a.Protocol[0])<<8 | uint16(a.Protocol[1]))),
	}
	if int(a.Halen) <= len(a.Addr) {
		full.LinkAddr = tcpip.LinkAddress(a.Addr[:a.Halen])
	}
	return full, 0
}

// Bind implements socket.Socket.
func (s *packetSocket) Bind(addr []byte) linux.Errno {
	full, errno := s.link(addr)
	if errno != 0 {
		return errno
	}
	return errnoOf(s.ep.Bind(full))
}

// Connect implements socket.Socket.
func (s *packetSocket) Connect([]byte) linux.Errno { return linux.EOPNOTSUPP }

// LocalAddr implements socket.Socket.
func (s *packetSocket) LocalAddr() ([]byte, linux.Errno) {
	full, err := s.ep.GetLocalAddress()
	if err != nil {
		return nil, errnoOf(err)
	}
	a := linux.SockaddrLink{
		Family:   linux.AF_PACKET,
		Protocol: [2]byte{byte(full.Port >> 8), byte(full.Port)},
		Ifindex:  int32(full.NIC),
	}
	if nic, ok := network().NICInfo()[full.NIC]; ok {
		a.Hatype = hardwareType(nic.ARPHardwareType)
		a.Halen = uint8(copy(a.Addr[:], nic.LinkAddress))
	}
	return appendValue(nil, &a), 0
}

// hardwareType returns the ARPHRD_* number.
func hardwareType(t header.ARPHardwareType) uint16 {
	if t == header.ARPHardwareLoopback {
		return linux.ARPHRD_LOOPBACK
	}
	return linux.ARPHRD_ETHER
}

// PeerAddr implements socket.Socket.
func (s *packetSocket) PeerAddr() ([]byte, linux.Errno) { return nil, linux.EOPNOTSUPP }

// Send implements socket.Socket.
func (s *packetSocket) Send(m *socket.Message, flags int) (int, linux.Errno) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	var opts tcpip.WriteOptions
	if len(m.Addr) > 0 {
		full, errno := s.link(m.Addr)
		if errno != 0 {
			return 0, errno
		}
		s.to = full
		opts.To = &s.to
	}
	s.out.setMessage(m)
	return s.write(opts)
}

// Recv implements socket.Socket.
func (s *packetSocket) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	if flags&linux.MSG_ERRQUEUE != 0 {
		return 0, linux.EAGAIN
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	s.in.setMessage(m)
	res, err := s.ep.Read(&s.in, tcpip.ReadOptions{Peek: flags&linux.MSG_PEEK != 0, NeedRemoteAddr: true, NeedLinkPacketInfo: true})
	n := s.in.n
	s.in = payload{}
	n, errno := s.received(n, err)
	if errno != 0 || err != nil && res.Total == 0 {
		return 0, errno
	}
	a := linux.SockaddrLink{
		Family:   linux.AF_PACKET,
		Protocol: [2]byte{byte(res.LinkPacketInfo.Protocol >> 8), byte(res.LinkPacketInfo.Protocol)},
		Ifindex:  int32(res.RemoteAddr.NIC),
		Hatype:   linux.ARPHRD_ETHER,
		Pkttype:  uint8(res.LinkPacketInfo.PktType),
	}
	a.Halen = uint8(copy(a.Addr[:], res.RemoteAddr.LinkAddr))
	m.Addr = appendValue(m.Addr[:0], &a)
	s.control(m, &res.ControlMessages)
	if res.Total > n {
		m.Flags |= linux.MSG_TRUNC
		if flags&linux.MSG_TRUNC != 0 {
			n = res.Total
		}
	}
	return n, 0
}

// SetOption implements socket.Socket.
func (s *packetSocket) SetOption(level, name int, val []byte) linux.Errno {
	if level != linux.SOL_SOCKET {
		return linux.ENOPROTOOPT
	}
	return s.datagram.SetOption(level, name, val)
}

// Option implements socket.Socket.
func (s *packetSocket) Option(level, name int, val []byte) (int, linux.Errno) {
	if level != linux.SOL_SOCKET {
		return 0, linux.ENOPROTOOPT
	}
	return s.datagram.Option(level, name, val)
}
