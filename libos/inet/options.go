package inet

import (
	"sync/atomic"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// SetOption implements socket.Socket.
func (s *stream) SetOption(level, name int, val []byte) linux.Errno {
	switch level {
	case linux.SOL_SOCKET:
		return s.setSocket(name, val)
	case linux.SOL_TCP:
		return s.setTCP(name, val)
	}
	return s.setIP(level, name, val)
}

// Option implements socket.Socket.
func (s *stream) Option(level, name int, val []byte) (int, linux.Errno) {
	switch {
	case level == linux.SOL_SOCKET && name == linux.SO_ERROR:
		return socket.PutInt(val, int(s.takeError())), 0
	case level == linux.SOL_SOCKET:
		return s.socketOption(name, val)
	case level == linux.SOL_TCP:
		return s.tcpOption(name, val)
	}
	return s.ipOption(level, name, val)
}

// SetOption implements socket.Socket.
func (s *datagram) SetOption(level, name int, val []byte) linux.Errno {
	switch {
	case level == linux.SOL_SOCKET && name == linux.SO_TIMESTAMP:
		on, errno := socket.GetInt(val)
		if errno == 0 {
			s.ip.timestamp.Store(on != 0)
		}
		return errno
	case level == linux.SOL_SOCKET:
		return s.setSocket(name, val)
	case level == linux.SOL_ICMPV6 && name == linux.ICMPV6_FILTER:
		f, errno := socket.Get[[8]uint32](val)
		if errno != 0 {
			return errno
		}
		return errnoOf(s.ep.SetSockOpt(&tcpip.ICMPv6Filter{DenyType: f}))
	}
	return s.setIP(level, name, val)
}

// Option implements socket.Socket.
func (s *datagram) Option(level, name int, val []byte) (int, linux.Errno) {
	switch {
	case level == linux.SOL_SOCKET && name == linux.SO_TIMESTAMP:
		return socket.PutBool(val, s.ip.timestamp.Load()), 0
	case level == linux.SOL_SOCKET:
		return s.socketOption(name, val)
	case level == linux.SOL_ICMPV6 && name == linux.ICMPV6_FILTER:
		var f tcpip.ICMPv6Filter
		if err := s.ep.GetSockOpt(&f); err != nil {
			return 0, errnoOf(err)
		}
		return socket.Put(val, f.DenyType), 0
	}
	return s.ipOption(level, name, val)
}

// ipOptions are options of a datagram socket that the stack does not have.
type ipOptions struct {
	timestamp atomic.Bool // SO_TIMESTAMP
}

// boolOption is an option that is on or off.
type boolOption struct {
	level, name int
	get         func(*tcpip.SocketOptions) bool
	set         func(*tcpip.SocketOptions, bool)
}

// boolOptions are the boolean options of SOL_SOCKET, SOL_IP and SOL_IPV6.
var boolOptions = [...]boolOption{
	{linux.SOL_SOCKET, linux.SO_REUSEADDR, (*tcpip.SocketOptions).GetReuseAddress, (*tcpip.SocketOptions).SetReuseAddress},
	{linux.SOL_SOCKET, linux.SO_REUSEPORT, (*tcpip.SocketOptions).GetReusePort, (*tcpip.SocketOptions).SetReusePort},
	{linux.SOL_SOCKET, linux.SO_KEEPALIVE, (*tcpip.SocketOptions).GetKeepAlive, (*tcpip.SocketOptions).SetKeepAlive},
	{linux.SOL_SOCKET, linux.SO_BROADCAST, (*tcpip.SocketOptions).GetBroadcast, (*tcpip.SocketOptions).SetBroadcast},
	{linux.SOL_SOCKET, linux.SO_NO_CHECK, (*tcpip.SocketOptions).GetNoChecksum, (*tcpip.SocketOptions).SetNoChecksum},
	{linux.SOL_IP, linux.IP_RECVTOS, (*tcpip.SocketOptions).GetReceiveTOS, (*tcpip.SocketOptions).SetReceiveTOS},
	{linux.SOL_IP, linux.IP_RECVTTL, (*tcpip.SocketOptions).GetReceiveTTL, (*tcpip.SocketOptions).SetReceiveTTL},
	{linux.SOL_IP, linux.IP_PKTINFO, (*tcpip.SocketOptions).GetReceivePacketInfo, (*tcpip.SocketOptions).SetReceivePacketInfo},
	{linux.SOL_IP, linux.IP_RECVERR, (*tcpip.SocketOptions).GetIPv4RecvError, (*tcpip.SocketOptions).SetIPv4RecvError},
	{linux.SOL_IP, linux.IP_MULTICAST_LOOP, (*tcpip.SocketOptions).GetMulticastLoop, (*tcpip.SocketOptions).SetMulticastLoop},
	{linux.SOL_IPV6, linux.IPV6_RECVTCLASS, (*tcpip.SocketOptions).GetReceiveTClass, (*tcpip.SocketOptions).SetReceiveTClass},
	{linux.SOL_IPV6, linux.IPV6_RECVHOPLIMIT, (*tcpip.SocketOptions).GetReceiveHopLimit, (*tcpip.SocketOptions).SetReceiveHopLimit},
	{linux.SOL_IPV6, linux.IPV6_RECVPKTINFO, (*tcpip.SocketOptions).GetIPv6ReceivePacketInfo, (*tcpip.SocketOptions).SetIPv6ReceivePacketInfo},
	{linux.SOL_IPV6, linux.IPV6_RECVERR, (*tcpip.SocketOptions).GetIPv6RecvError, (*tcpip.SocketOptions).SetIPv6RecvError},
	{linux.SOL_IPV6, linux.IPV6_MULTICAST_LOOP, (*tcpip.SocketOptions).GetMulticastLoop, (*tcpip.SocketOptions).SetMulticastLoop},
}

// findBool returns the boolean option with that name, or nil.
func findBool(level, name int) *boolOption {
	for i := range boolOptions {
		if o := &boolOptions[i]; o.level == level && o.name == name {
			return o
		}
	}
	return nil
}

// setBool sets a boolean option. It returns false when no boolean option has
// that name.
func (s *base) setBool(level, name int, val []byte) (bool, linux.Errno) {
	o := findBool(level, name)
	if o == nil {
		return false, 0
	}
	v, errno := getInt(level, val)
	if errno == 0 {
		o.set(s.ep.SocketOptions(), v != 0)
	}
	return true, errno
}

// getInt returns the value of an integer option. An option of SOL_IP may have
// one byte.
func getInt(level int, val []byte) (int, linux.Errno) {
	if level == linux.SOL_IP && len(val) > 0 && len(val) < 4 {
		return int(val[0]), 0
	}
	return socket.GetInt(val)
}

// sockMaxBuf is half of net.core.wmem_max and rmem_max, because Linux doubles
// the values of SO_SNDBUF and SO_RCVBUF (socket(7)).
const sockMaxBuf = tcpBufferMax / 2

// sockForceBuf is the limit for SO_SNDBUFFORCE and SO_RCVBUFFORCE. Linux has no
// limit here: QUIC asks for 7 MiB.
const sockForceBuf = datagramBufferMax / 2

// Minimum of SO_SNDBUF and SO_RCVBUF: SOCK_MIN_SNDBUF and SOCK_MIN_RCVBUF in
// include/net/sock.h.
const (
	sockMinSndBuf = 4608
	sockMinRcvBuf = 2304
)

// setSocket sets an option of SOL_SOCKET.
func (s *base) setSocket(name int, val []byte) linux.Errno {
	if ok, errno := s.setBool(linux.SOL_SOCKET, name, val); ok {
		return errno
	}
	so := s.ep.SocketOptions()
	switch name {
	case linux.SO_LINGER:
		l, errno := socket.Get[linux.Linger](val)
		if errno == 0 {
			so.SetLinger(tcpip.LingerOption{Enabled: l.On != 0, Timeout: time.Duration(l.Seconds) * time.Second})
		}
		return errno
	case linux.SO_BINDTODEVICE:
		return s.bindToDevice(val)
	case linux.SO_TYPE, linux.SO_DOMAIN, linux.SO_PROTOCOL, linux.SO_ERROR, linux.SO_ACCEPTCONN:
		return linux.ENOPROTOOPT
	case linux.SO_RCVTIMEO, linux.SO_SNDTIMEO, linux.SO_RCVTIMEO_NEW, linux.SO_SNDTIMEO_NEW:
		return s.Base.SetOption(linux.SOL_SOCKET, name, val)
	}
	v, errno := socket.GetInt(val)
	if errno != 0 {
		return errno
	}
	most := sockMaxBuf
	if name == linux.SO_SNDBUFFORCE || name == linux.SO_RCVBUFFORCE {
		most = sockForceBuf
	}
	switch name {
	case linux.SO_SNDBUF, linux.SO_SNDBUFFORCE:
		so.SetSendBufferSize(int64(max(2*min(max(v, 0), most), sockMinSndBuf)), true)
	case linux.SO_RCVBUF, linux.SO_RCVBUFFORCE:
		so.SetReceiveBufferSize(int64(max(2*min(max(v, 0), most), sockMinRcvBuf)), true)
	case linux.SO_MARK:
		so.SetMark(uint32(v))
	case linux.SO_PRIORITY, linux.SO_DONTROUTE, linux.SO_OOBINLINE, linux.SO_RCVLOWAT, linux.SO_DEBUG,
		linux.SO_BUSY_POLL, linux.SO_INCOMING_CPU:
		// Hints, or states that have no effect here.
	default:
		return linux.ENOPROTOOPT
	}
	return 0
}

// bindToDevice is SO_BINDTODEVICE. An empty name removes the binding.
func (s *base) bindToDevice(val []byte) linux.Errno {
	name := cString(val[:min(len(val), linux.IFNAMSIZ-1)])
	if name == "" {
		return errnoOf(s.ep.SocketOptions().SetBindToDevice(0))
	}
	for id, nic := range network().NICInfo() {
		if nic.Name == name {
			return errnoOf(s.ep.SocketOptions().SetBindToDevice(int32(id)))
		}
	}
	return linux.ENODEV
}

// socketOption reads an option of SOL_SOCKET.
func (s *base) socketOption(name int, val []byte) (int, linux.Errno) {
	so := s.ep.SocketOptions()
	if o := findBool(linux.SOL_SOCKET, name); o != nil {
		return socket.PutBool(val, o.get(so)), 0
	}
	switch name {
	case linux.SO_ERROR:
		errno := errnoOf(so.GetLastError())
		if errno == 0 && s.down.Swap(false) {
			errno = linux.ENETDOWN
		}
		return socket.PutInt(val, int(errno)), 0
	case linux.SO_ACCEPTCONN:
		return socket.PutBool(val, so.GetAcceptConn()), 0
	case linux.SO_SNDBUF:
		return socket.PutInt(val, int(so.GetSendBufferSize())), 0
	case linux.SO_RCVBUF:
		return socket.PutInt(val, int(so.GetReceiveBufferSize())), 0
	case linux.SO_LINGER:
		l := so.GetLinger()
		v := linux.Linger{Seconds: int32(l.Timeout / time.Second)}
		if l.Enabled {
			v.On = 1
		}
		return socket.Put(val, v), 0
	case linux.SO_MARK:
		return socket.PutInt(val, int(so.GetMark())), 0
	case linux.SO_BINDTODEVICE:
		if id := tcpip.NICID(so.GetBindToDevice()); id != 0 {
			return copy(val, network().FindNICNameFromID(id)+"\x00"), 0
		}
		return 0, 0
	case linux.SO_RCVLOWAT, linux.SO_SNDLOWAT:
		return socket.PutInt(val, 1), 0
	case linux.SO_PRIORITY, linux.SO_DONTROUTE, linux.SO_OOBINLINE, linux.SO_DEBUG:
		return socket.PutInt(val, 0), 0
	}
	return s.Base.Option(linux.SOL_SOCKET, name, val)
}
