package inet

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// defaultTTL is net.ipv4.ip_default_ttl.
const defaultTTL = 64

// setIP sets an option of SOL_IP or SOL_IPV6.
func (s *base) setIP(level, name int, val []byte) linux.Errno {
	if level != linux.SOL_IP && (level != linux.SOL_IPV6 || s.domain != linux.AF_INET6) {
		return linux.ENOPROTOOPT
	}
	if ok, errno := s.setBool(level, name, val); ok {
		return errno
	}
	switch name {
	case linux.MCAST_JOIN_GROUP, linux.MCAST_LEAVE_GROUP:
		return s.groupReq(name == linux.MCAST_JOIN_GROUP, val)
	}
	if level == linux.SOL_IPV6 {
		return s.setIPv6(name, val)
	}
	switch name {
	case linux.IP_ADD_MEMBERSHIP, linux.IP_DROP_MEMBERSHIP:
		m, errno := ipMreqn(val)
		if errno != 0 {
			return errno
		}
		return s.membership(name == linux.IP_ADD_MEMBERSHIP, m)
	case linux.IP_MULTICAST_IF:
		if len(val) < 4 {
			return linux.EINVAL
		}
		if len(val) < 8 { // struct in_addr: address of the interface
			val = append([]byte{3: 0}, val[:4]...)
		}
		m, errno := ipMreqn(val)
		if errno != 0 {
			return errno
		}
		return errnoOf(s.ep.SetSockOpt(&tcpip.MulticastInterfaceOption{NIC: m.NIC, InterfaceAddr: m.InterfaceAddr}))
	}
	v, errno := getInt(level, val)
	if errno != 0 {
		return errno
	}
	switch name {
	case linux.IP_TTL:
		if v != -1 && (v < 1 || v > 255) {
			return linux.EINVAL
		}
		return errnoOf(s.ep.SetSockOptInt(tcpip.IPv4TTLOption, max(v, 0)))
	case linux.IP_TOS:
		return errnoOf(s.ep.SetSockOptInt(tcpip.IPv4TOSOption, v&0xff))
	case linux.IP_MULTICAST_TTL:
		if v < -1 || v > 255 {
			return linux.EINVAL
		}
		if v == -1 {
			v = 1
		}
		return errnoOf(s.ep.SetSockOptInt(tcpip.MulticastTTLOption, v))
	case linux.IP_MTU_DISCOVER:
		return s.setMTUDiscover(v)
	case linux.IP_HDRINCL:
		if s.Type() != linux.SOCK_RAW {
			return linux.ENOPROTOOPT
		}
		s.ep.SocketOptions().SetHeaderIncluded(v != 0)
		return 0
	case linux.IP_FREEBIND, linux.IP_BIND_NO_PORT, linux.IP_MULTICAST_ALL, linux.IP_RECVOPTS, linux.IP_TRANSPARENT, linux.IP_UNICAST_IF:
		return 0 // no effect on an instance with one address
	}
	return linux.ENOPROTOOPT
}

func (s *base) setMTUDiscover(v int) linux.Errno {
	// IP_PMTUDISC_DONT, WANT, DO and PROBE; the stack numbers them differently.
	// INTERFACE and OMIT ignore the path MTU, like DONT.
	strategies := []tcpip.PMTUDStrategy{
		tcpip.PMTUDiscoveryDont, tcpip.PMTUDiscoveryWant, tcpip.PMTUDiscoveryDo,
		tcpip.PMTUDiscoveryProbe, tcpip.PMTUDiscoveryDont, tcpip.PMTUDiscoveryDont,
	}
	if v < 0 || v >= len(strategies) {
		return linux.EINVAL
	}
	return errnoOf(s.ep.SetSockOptInt(tcpip.MTUDiscoverOption, int(strategies[v])))
}

func (s *base) setIPv6(name int, val []byte) linux.Errno {
	switch name {
	case linux.IPV6_ADD_MEMBERSHIP, linux.IPV6_DROP_MEMBERSHIP:
		mreq, errno := socket.Get[struct {
			Group   [16]byte
			Ifindex int32
		}](val)
		if errno != 0 {
			return errno
		}
		return s.membership(name == linux.IPV6_ADD_MEMBERSHIP, tcpip.MembershipOption{
			NIC:           tcpip.NICID(mreq.Ifindex),
			MulticastAddr: tcpip.AddrFrom16(mreq.Group),
		})
	}
	v, errno := socket.GetInt(val)
	if errno != 0 {
		return errno
	}
	switch name {
	case linux.IPV6_V6ONLY:
		if s.bound() {
			return linux.EINVAL
		}
		s.ep.SocketOptions().SetV6Only(v != 0)
		return 0
	case linux.IPV6_UNICAST_HOPS:
		if v < -1 || v > 255 {
			return linux.EINVAL
		}
		return errnoOf(s.ep.SetSockOptInt(tcpip.IPv6HopLimitOption, v))
	case linux.IPV6_MULTICAST_HOPS:
		if v < -1 || v > 255 {
			return linux.EINVAL
		}
		if v == -1 {
			v = 1
		}
		return errnoOf(s.ep.SetSockOptInt(tcpip.MulticastTTLOption, v))
	case linux.IPV6_TCLASS:
		if v < -1 || v > 255 {
			return linux.EINVAL
		}
		return errnoOf(s.ep.SetSockOptInt(tcpip.IPv6TrafficClassOption, max(v, 0)))
	case linux.IPV6_MULTICAST_IF:
		if v != 0 && !network().HasNIC(tcpip.NICID(v)) {
			return linux.ENODEV
		}
		return errnoOf(s.ep.SetSockOpt(&tcpip.MulticastInterfaceOption{NIC: tcpip.NICID(v)}))
	case linux.IPV6_CHECKSUM:
		return errnoOf(s.ep.SetSockOptInt(tcpip.IPv6Checksum, v))
	case linux.IPV6_MTU_DISCOVER:
		return s.setMTUDiscover(v)
	}
	return linux.ENOPROTOOPT
}

// bound reports whether the socket has a port or a peer. IPV6_V6ONLY cannot
// change then.
func (s *base) bound() bool {
	if s.Type() == linux.SOCK_STREAM {
		return tcp.EndpointState(s.ep.State()) != tcp.StateInitial
	}
	return transport.DatagramEndpointState(s.ep.State()) != transport.DatagramEndpointStateInitial
}

// ipMreqn reads struct ip_mreqn or the shorter struct ip_mreq (ip(7)).
func ipMreqn(val []byte) (m tcpip.MembershipOption, errno linux.Errno) {
	if len(val) < 8 {
		return m, linux.EINVAL
	}
	m.MulticastAddr = tcpip.AddrFrom4([4]byte(val))
	if a := tcpip.AddrFrom4([4]byte(val[4:])); a != header.IPv4Any {
		m.InterfaceAddr = a
	}
	if index, errno := socket.Get[int32](val[8:]); errno == 0 {
		m.NIC = tcpip.NICID(index)
	}
	return m, 0
}

// groupReq joins or leaves the group in a struct group_req (RFC 3678): an
// interface, and a group as struct sockaddr_storage at offset 8.
func (s *base) groupReq(join bool, val []byte) linux.Errno {
	if len(val) < 8+inet6LenNoZone {
		return linux.EINVAL
	}
	m := tcpip.MembershipOption{NIC: tcpip.NICID(uint32(val[0]) | uint32(val[1])<<8 | uint32(val[2])<<16 | uint32(val[3])<<24)}
	switch addr := val[8:]; family(addr) {
	case linux.AF_INET:
		m.MulticastAddr = tcpip.AddrFrom4([4]byte(addr[4:8]))
	case linux.AF_INET6:
		m.MulticastAddr = tcpip.AddrFrom16([16]byte(addr[8:24]))
	default:
		return linux.EADDRNOTAVAIL
	}
	return s.membership(join, m)
}

// ipOption reads an option of SOL_IP or SOL_IPV6.
func (s *base) ipOption(level, name int, val []byte) (int, linux.Errno) {
	switch {
	case level == linux.SOL_IP:
	case s.domain == linux.AF_INET:
		return 0, linux.EOPNOTSUPP
	case level != linux.SOL_IPV6:
		return 0, linux.ENOPROTOOPT
	}
	so := s.ep.SocketOptions()
	if o := findBool(level, name); o != nil {
		return socket.PutBool(val, o.get(so)), 0
	}
	v, err := 0, tcpip.Error(nil)
	if level == linux.SOL_IPV6 {
		switch name {
		case linux.IPV6_V6ONLY:
			return socket.PutBool(val, so.GetV6Only()), 0
		case linux.IPV6_UNICAST_HOPS:
			if v, err = s.ep.GetSockOptInt(tcpip.IPv6HopLimitOption); v == -1 {
				v = defaultTTL
			}
		case linux.IPV6_MULTICAST_HOPS:
			v, err = s.ep.GetSockOptInt(tcpip.MulticastTTLOption)
		case linux.IPV6_TCLASS:
			v, err = s.ep.GetSockOptInt(tcpip.IPv6TrafficClassOption)
		case linux.IPV6_MULTICAST_IF:
			v, err = s.multicastNIC()
		case linux.IPV6_MTU:
			return s.mtu(val)
		default:
			return 0, linux.ENOPROTOOPT
		}
		return socket.PutInt(val, v), errnoOf(err)
	}
	switch name {
	case linux.IP_TTL:
		if v, err = s.ep.GetSockOptInt(tcpip.IPv4TTLOption); v == 0 {
			v = defaultTTL
		}
	case linux.IP_TOS:
		v, err = s.ep.GetSockOptInt(tcpip.IPv4TOSOption)
	case linux.IP_MULTICAST_TTL:
		v, err = s.ep.GetSockOptInt(tcpip.MulticastTTLOption)
	case linux.IP_MULTICAST_IF:
		var opt tcpip.MulticastInterfaceOption
		if err := s.ep.GetSockOpt(&opt); err != nil {
			return 0, errnoOf(err)
		}
		var addr [4]byte
		copy(addr[:], opt.InterfaceAddr.AsSlice())
		return copy(val, addr[:]), 0
	case linux.IP_HDRINCL:
		return socket.PutBool(val, so.GetHeaderIncluded()), 0
	case linux.IP_MTU:
		return s.mtu(val)
	case linux.IP_OPTIONS:
		return 0, 0
	case linux.IP_FREEBIND, linux.IP_BIND_NO_PORT, linux.IP_RECVOPTS, linux.IP_TRANSPARENT, linux.IP_UNICAST_IF:
	case linux.IP_MULTICAST_ALL:
		v = 1
	default:
		return 0, linux.ENOPROTOOPT
	}
	return socket.PutInt(val, v), errnoOf(err)
}

// multicastNIC returns the value of IPV6_MULTICAST_IF.
func (s *base) multicastNIC() (int, tcpip.Error) {
	var opt tcpip.MulticastInterfaceOption
	err := s.ep.GetSockOpt(&opt)
	return int(opt.NIC), err
}

// mtu is IP_MTU and IPV6_MTU: the MTU of the route to the peer.
func (s *base) mtu(val []byte) (int, linux.Errno) {
	peer, err := s.ep.GetRemoteAddress()
	if err != nil {
		return 0, linux.ENOTCONN
	}
	proto := header.IPv6ProtocolNumber
	if peer.Addr = unmapped(peer.Addr); peer.Addr.Len() == header.IPv4AddressSize {
		proto = header.IPv4ProtocolNumber
	}
	r, err := network().FindRoute(peer.NIC, tcpip.Address{}, peer.Addr, proto, false)
	if err != nil {
		return 0, errnoOf(err)
	}
	defer r.Release()
	info, ok := network().NICInfo()[r.NICID()]
	if !ok {
		return 0, linux.ENODEV
	}
	return socket.PutInt(val, int(info.MTU)), 0
}
