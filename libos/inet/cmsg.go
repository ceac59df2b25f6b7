package inet

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// inPktinfo is struct in_pktinfo (ip(7)).
type inPktinfo struct {
	Ifindex int32
	SpecDst [4]byte
	Addr    [4]byte
}

// in6Pktinfo is struct in6_pktinfo (RFC 3542).
type in6Pktinfo struct {
	Addr    [16]byte
	Ifindex int32
}

// control appends to m the control messages that the program has enabled.
func (s *datagram) control(m *socket.Message, cm *tcpip.ReceivableControlMessages) {
	if cm.HasTimestamp && s.ip.timestamp.Load() {
		m.Control = append(m.Control, message(linux.SOL_SOCKET, linux.SO_TIMESTAMP, &linux.Timeval{
			Sec: cm.Timestamp.Unix(), Usec: int64(cm.Timestamp.Nanosecond() / 1000),
		}))
	}
	if cm.HasTTL {
		ttl := int32(cm.TTL)
		m.Control = append(m.Control, message(linux.SOL_IP, linux.IP_TTL, &ttl))
	}
	if cm.HasTOS {
		m.Control = append(m.Control, message(linux.SOL_IP, linux.IP_TOS, &cm.TOS))
	}
	if cm.HasIPPacketInfo {
		info := inPktinfo{Ifindex: int32(cm.PacketInfo.NIC)}
		copy(info.SpecDst[:], cm.PacketInfo.LocalAddr.AsSlice())
		copy(info.Addr[:], cm.PacketInfo.DestinationAddr.AsSlice())
		m.Control = append(m.Control, message(linux.SOL_IP, linux.IP_PKTINFO, &info))
	}
	if cm.HasHopLimit {
		hops := int32(cm.HopLimit)
		m.Control = append(m.Control, message(linux.SOL_IPV6, linux.IPV6_HOPLIMIT, &hops))
	}
	if cm.HasTClass {
		m.Control = append(m.Control, message(linux.SOL_IPV6, linux.IPV6_TCLASS, &cm.TClass))
	}
	if cm.HasIPv6PacketInfo {
		info := in6Pktinfo{Ifindex: int32(cm.IPv6PacketInfo.NIC)}
		addr := cm.IPv6PacketInfo.Addr
		if addr.Len() == header.IPv4AddressSize {
			addr = mapped(addr)
		}
		copy(info.Addr[:], addr.AsSlice())
		m.Control = append(m.Control, message(linux.SOL_IPV6, linux.IPV6_PKTINFO, &info))
	}
}

func message[T any](level, typ int, v *T) socket.Control {
	return socket.Control{Level: level, Type: typ, Data: appendValue(nil, v)}
}

// sendControl applies the control messages of a message to be sent. It uses the
// interface of IP_PKTINFO but not its source address, because on an instance
// with one address the route gives the same one.
func (s *datagram) sendControl(control []socket.Control, opts *tcpip.WriteOptions) linux.Errno {
	cm := &opts.ControlMessages
	for _, c := range control {
		switch {
		case c.Level == linux.SOL_IP && c.Type == linux.IP_TTL:
			ttl, errno := socket.GetInt(c.Data)
			if errno != 0 || ttl < 1 || ttl > 255 {
				return linux.EINVAL
			}
			cm.HasTTL, cm.TTL = true, uint8(ttl)
		case c.Level == linux.SOL_IP && c.Type == linux.IP_PKTINFO:
			info, errno := socket.Get[inPktinfo](c.Data)
			if errno != 0 {
				return errno
			}
			if opts.To != nil && info.Ifindex != 0 {
				opts.To.NIC = tcpip.NICID(info.Ifindex)
			}
		case c.Level == linux.SOL_IPV6 && c.Type == linux.IPV6_HOPLIMIT:
			hops, errno := socket.GetInt(c.Data)
			if errno != 0 || hops < -1 || hops > 255 {
				return linux.EINVAL
			}
			if hops >= 0 {
				cm.HasHopLimit, cm.HopLimit = true, uint8(hops)
			}
		case c.Level == linux.SOL_IPV6 && c.Type == linux.IPV6_PKTINFO:
			info, errno := socket.Get[in6Pktinfo](c.Data)
			if errno != 0 {
				return errno
			}
			cm.HasIPv6PacketInfo = true
			cm.IPv6PacketInfo.NIC = tcpip.NICID(info.Ifindex)
			if addr := tcpip.AddrFrom16(info.Addr); addr != header.IPv6Any {
				cm.IPv6PacketInfo.Addr = addr
			}
		}
	}
	return 0
}

// sockExtendedErr is struct sock_extended_err (ip(7), IP_RECVERR).
type sockExtendedErr struct {
	Errno              uint32
	Origin, Type, Code uint8
	_                  uint8
	Info, Data         uint32
}

// recvError is recvmsg(2) with MSG_ERRQUEUE. It returns the datagram that
// caused an ICMP error, and the error in a control message.
func (s *datagram) recvError(m *socket.Message) (int, linux.Errno) {
	e := s.ep.SocketOptions().DequeueErr()
	if e == nil {
		return 0, linux.EAGAIN
	}
	level, typ := linux.SOL_IP, linux.IP_RECVERR
	if s.domain == linux.AF_INET6 {
		level, typ = linux.SOL_IPV6, linux.IPV6_RECVERR
	}
	c := message(level, typ, &sockExtendedErr{
		Errno:  uint32(errnoOf(e.Err)),
		Origin: uint8(e.Cause.Origin()),
		Type:   e.Cause.Type(),
		Code:   e.Cause.Code(),
		Info:   e.Cause.Info(),
	})
	c.Data = encode(c.Data, s.domain, e.Offender)
	m.Control = append(m.Control, c)
	m.Addr = encode(m.Addr[:0], s.domain, e.Dst)
	m.Flags |= linux.MSG_ERRQUEUE
	n := 0
	if e.Payload != nil {
		n = m.Scatter(e.Payload.AsSlice(), 0)
		if n < e.Payload.Size() {
			m.Flags |= linux.MSG_TRUNC
		}
	}
	return n, 0
}
