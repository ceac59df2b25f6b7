package inet

import (
	"net/netip"
	"slices"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// rtMessage builds a message of rtnetlink(7).
type rtMessage struct{ b []byte }

// rtNew starts a message of the given type that answers request h.
func rtNew[T any](h linux.NlMsghdr, typ int, port uint32, body *T) *rtMessage {
	reply := linux.NlMsghdr{Type: uint16(typ), Seq: h.Seq, PID: port}
	if h.Flags&linux.NLM_F_DUMP == linux.NLM_F_DUMP {
		reply.Flags = linux.NLM_F_MULTI
	}
	m := &rtMessage{appendValue(nil, &reply)}
	m.b = appendValue(m.b, body)
	return m
}

// attr appends a struct rtattr with its value.
func (m *rtMessage) attr(typ int, val []byte) {
	size := 4 + len(val)
	m.b = append(m.b, byte(size), byte(size>>8), byte(typ), byte(typ>>8))
	m.b = append(m.b, val...)
	m.b = append(m.b, make([]byte, align4(size)-size)...)
}

func (m *rtMessage) attr32(typ int, v uint32) { m.attr(typ, appendValue(nil, &v)) }

// bytes returns the finished message.
func (m *rtMessage) bytes() []byte {
	size := uint32(len(m.b))
	copy(m.b, appendValue(nil, &size))
	return m.b
}

// nlError returns the NLMSG_ERROR that answers h. errno 0 is an
// acknowledgement.
func nlError(h linux.NlMsghdr, port uint32, errno linux.Errno) []byte {
	h2 := h
	h2.Flags &^= linux.NLM_F_DUMP
	m := rtNew(h2, linux.NLMSG_ERROR, port, &struct {
		Errno   int32
		Request linux.NlMsghdr
	}{-int32(errno), h})
	return m.bytes()
}

// rtnetlink answers one request with datagrams of messages. For a dump, one
// datagram has all messages and another has NLMSG_DONE. Linux does the same
// when there are few messages.
func rtnetlink(h linux.NlMsghdr, body []byte, port uint32) [][]byte {
	dump := h.Flags&linux.NLM_F_DUMP == linux.NLM_F_DUMP
	var all []*rtMessage
	switch {
	case h.Type < linux.RTM_NEWLINK: // NLMSG_NOOP and the like
		return ack(h, port, 0)
	case h.Type > linux.RTM_MAX:
		return ack(h, port, linux.EOPNOTSUPP)
	case h.Type == linux.RTM_GETLINK:
		var errno linux.Errno
		if all, errno = links(h, body, port, dump); errno != 0 {
			return ack(h, port, errno)
		}
	case h.Type == linux.RTM_GETADDR && dump:
		all = addresses(h, body, port)
	case h.Type == linux.RTM_GETROUTE && dump:
		all = routes(h, body, port)
	case h.Type == linux.RTM_GETROUTE:
		r, errno := routeTo(h, body, port)
		if errno != 0 {
			return ack(h, port, errno)
		}
		all = []*rtMessage{r}
	case dump && h.Type&3 == linux.RTM_GETLINK&3: // another kind of RTM_GET, for which there are no entries
	case h.Type&3 == linux.RTM_GETLINK&3:
		return ack(h, port, linux.EOPNOTSUPP)
	default:
		return ack(h, port, linux.EPERM)
	}
	var one []byte
	for _, m := range all {
		one = append(one, m.bytes()...)
	}
	var replies [][]byte
	if len(one) > 0 {
		replies = append(replies, one)
	}
	if dump {
		var errno int32
		return append(replies, rtNew(h, linux.NLMSG_DONE, port, &errno).bytes())
	}
	return append(replies, ack(h, port, 0)...)
}

// ack answers a request that failed or asked for an acknowledgement.
func ack(h linux.NlMsghdr, port uint32, errno linux.Errno) [][]byte {
	if errno == 0 && h.Flags&linux.NLM_F_ACK == 0 {
		return nil
	}
	return [][]byte{nlError(h, port, errno)}
}

// nics returns the interfaces, sorted by number.
func nics() (ids []tcpip.NICID, info map[tcpip.NICID]stack.NICInfo) {
	info = network().NICInfo()
	for id := range info {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, info
}

// nicFlags returns the IFF_* flags of an interface.
func nicFlags(nic *stack.NICInfo) uint32 {
	const running = linux.IFF_RUNNING | linux.IFF_LOWER_UP
	switch {
	case nic.Flags.Loopback:
		return linux.IFF_UP | linux.IFF_LOOPBACK | running
	case connected(nic):
		return linux.IFF_UP | linux.IFF_BROADCAST | linux.IFF_MULTICAST | running
	}
	return linux.IFF_UP | linux.IFF_BROADCAST | linux.IFF_MULTICAST
}

// connected reports whether the network device is connected to a network.
func connected(nic *stack.NICInfo) bool {
	l, ok := nic.Context.(*link)
	return ok && l.dev.Up() && nic.Flags.Running
}

// links answers RTM_GETLINK: for a dump with all interfaces, otherwise with the
// interface that the request identifies by number or name.
func links(h linux.NlMsghdr, body []byte, port uint32, dump bool) ([]*rtMessage, linux.Errno) {
	var want linux.IfInfomsg
	name := ""
	if !dump {
		var errno linux.Errno
		if want, errno = socket.Get[linux.IfInfomsg](body); errno != 0 {
			return nil, errno
		}
		if val, ok := findAttr(body[16:], linux.IFLA_IFNAME); ok {
			name = cString(val)
		}
	}
	var all []*rtMessage
	ids, info := nics()
	for _, id := range ids {
		nic := info[id]
		if !dump && !(want.Index != 0 && want.Index == int32(id) || want.Index == 0 && name == nic.Name) {
			continue
		}
		m := rtNew(h, linux.RTM_NEWLINK, port, &linux.IfInfomsg{
			Type:  hardwareType(nic.ARPHardwareType),
			Index: int32(id),
			Flags: nicFlags(&nic),
		})
		m.attr(linux.IFLA_IFNAME, append([]byte(nic.Name), 0))
		m.attr32(linux.IFLA_TXQLEN, maxBacklog)
		m.attr(linux.IFLA_OPERSTATE, []byte{operState(&nic)})
		m.attr32(linux.IFLA_MTU, nic.MTU)
		address, broadcast := make([]byte, header.EthernetAddressSize), make([]byte, header.EthernetAddressSize)
		if !nic.Flags.Loopback {
			copy(address, nic.LinkAddress)
			copy(broadcast, header.EthernetBroadcastAddress)
		}
		m.attr(linux.IFLA_ADDRESS, address)
		m.attr(linux.IFLA_BROADCAST, broadcast)
		m.attr(linux.IFLA_QDISC, []byte("noqueue\x00"))
		all = append(all, m)
	}
	if !dump && len(all) == 0 {
		return nil, linux.ENODEV
	}
	return all, 0
}

func operState(nic *stack.NICInfo) byte {
	switch {
	case nic.Flags.Loopback:
		return linux.IF_OPER_UNKNOWN
	case connected(nic):
		return linux.IF_OPER_UP
	}
	return linux.IF_OPER_DOWN
}

// addressFamily returns the AF_* at the start of a request.
func addressFamily(body []byte) int {
	if len(body) == 0 {
		return linux.AF_UNSPEC
	}
	return int(body[0])
}

// familyOf returns the AF_* of an address.
func familyOf(a tcpip.Address) int {
	if a.Len() == header.IPv4AddressSize {
		return linux.AF_INET
	}
	return linux.AF_INET6
}

// addresses answers a dump of RTM_GETADDR.
func addresses(h linux.NlMsghdr, body []byte, port uint32) (all []*rtMessage) {
	want := addressFamily(body)
	ids, info := nics()
	for _, af := range []int{linux.AF_INET, linux.AF_INET6} {
		for _, id := range ids {
			nic := info[id]
			for _, pa := range nic.ProtocolAddresses {
				a := pa.AddressWithPrefix
				if familyOf(a.Address) != af || want != linux.AF_UNSPEC && want != af {
					continue
				}
				if pa.Protocol != header.IPv4ProtocolNumber && pa.Protocol != header.IPv6ProtocolNumber {
					continue
				}
				m := rtNew(h, linux.RTM_NEWADDR, port, &linux.IfAddrmsg{
					Family:    uint8(af),
					Prefixlen: uint8(a.PrefixLen),
					Flags:     linux.IFA_F_PERMANENT,
					Scope:     scope(a.Address),
					Index:     uint32(id),
				})
				m.attr(linux.IFA_ADDRESS, a.Address.AsSlice())
				if af == linux.AF_INET {
					m.attr(linux.IFA_LOCAL, a.Address.AsSlice())
					if !nic.Flags.Loopback {
						broadcast := a.Subnet()
						b := broadcast.Broadcast()
						m.attr(linux.IFA_BROADCAST, b.AsSlice())
					}
					m.attr(linux.IFA_LABEL, append([]byte(nic.Name), 0))
				}
				m.attr32(linux.IFA_FLAGS, linux.IFA_F_PERMANENT)
				all = append(all, m)
			}
		}
	}
	return all
}

// scope returns the RT_SCOPE_* of an address.
func scope(a tcpip.Address) uint8 {
	switch ip, _ := netip.AddrFromSlice(a.AsSlice()); {
	case ip.IsLoopback():
		return linux.RT_SCOPE_HOST
	case ip.IsLinkLocalUnicast():
		return linux.RT_SCOPE_LINK
	}
	return linux.RT_SCOPE_UNIVERSE
}

// routes answers a dump of RTM_GETROUTE. It omits the routes of the loopback
// interface, which Linux has in the local table, not in the main one.
func routes(h linux.NlMsghdr, body []byte, port uint32) (all []*rtMessage) {
	want := addressFamily(body)
	for _, r := range network().GetRouteTable() {
		dst := r.Destination.ID()
		if r.NIC == loopbackNIC || want != linux.AF_UNSPEC && want != familyOf(dst) {
			continue
		}
		all = append(all, routeMessage(h, port, r))
	}
	return all
}

func routeMessage(h linux.NlMsghdr, port uint32, r tcpip.Route) *rtMessage {
	dst := r.Destination.ID()
	msg := linux.RtMsg{
		Family:   uint8(familyOf(dst)),
		DstLen:   uint8(r.Destination.Prefix()),
		Table:    linux.RT_TABLE_MAIN,
		Protocol: linux.RTPROT_BOOT,
		Scope:    linux.RT_SCOPE_UNIVERSE,
		Type:     linux.RTN_UNICAST,
	}
	if r.Gateway.Len() == 0 {
		msg.Protocol, msg.Scope = linux.RTPROT_KERNEL, linux.RT_SCOPE_LINK
	}
	m := rtNew(h, linux.RTM_NEWROUTE, port, &msg)
	m.attr32(linux.RTA_TABLE, linux.RT_TABLE_MAIN)
	if msg.DstLen > 0 {
		m.attr(linux.RTA_DST, dst.AsSlice())
	}
	if r.Gateway.Len() != 0 {
		m.attr(linux.RTA_GATEWAY, r.Gateway.AsSlice())
	} else if src, err := network().GetMainNICAddress(r.NIC, protocolOf(dst)); err == nil && familyOf(dst) == linux.AF_INET {
		m.attr(linux.RTA_PREFSRC, src.Address.AsSlice())
	}
	m.attr32(linux.RTA_OIF, uint32(r.NIC))
	return m
}

func protocolOf(a tcpip.Address) tcpip.NetworkProtocolNumber {
	if a.Len() == header.IPv4AddressSize {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// routeTo answers RTM_GETROUTE for one destination.
func routeTo(h linux.NlMsghdr, body []byte, port uint32) (*rtMessage, linux.Errno) {
	if len(body) < 12 {
		return nil, linux.EINVAL
	}
	val, ok := findAttr(body[12:], linux.RTA_DST)
	if !ok || len(val) != header.IPv4AddressSize && len(val) != header.IPv6AddressSize {
		return nil, linux.EINVAL
	}
	dst := tcpip.AddrFromSlice(val)
	r, err := network().FindRoute(0, tcpip.Address{}, dst, protocolOf(dst), false)
	if err != nil {
		return nil, linux.ENETUNREACH
	}
	defer r.Release()
	m := rtNew(h, linux.RTM_NEWROUTE, port, &linux.RtMsg{
		Family: uint8(familyOf(dst)), DstLen: uint8(8 * dst.Len()), Table: linux.RT_TABLE_MAIN, Type: linux.RTN_UNICAST,
	})
	m.attr(linux.RTA_DST, dst.AsSlice())
	if hop := r.NextHop(); hop.Len() != 0 && hop != dst {
		m.attr(linux.RTA_GATEWAY, hop.AsSlice())
	}
	local := r.LocalAddress()
	m.attr(linux.RTA_PREFSRC, local.AsSlice())
	m.attr32(linux.RTA_OIF, uint32(r.NICID()))
	return m, 0
}

// findAttr returns the value of the first attribute of that type.
func findAttr(b []byte, typ int) ([]byte, bool) {
	for len(b) >= 4 {
		size := int(b[0]) | int(b[1])<<8
		if size < 4 || size > len(b) {
			break
		}
		if int(b[2])|int(b[3])<<8 == typ {
			return b[4:size], true
		}
		b = b[min(align4(size), len(b)):]
	}
	return nil, false
}

// cString returns b up to its first zero byte.
func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
