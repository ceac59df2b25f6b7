package hostinet

import (
	"slices"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// set sets an option for the image.
func (s *Server) set(fd int, o boot.SocketOption) error {
	level, name := int(int32(o.Level)), int(int32(o.Name))
	if level == unix.SOL_SOCKET && (name == unix.SO_RCVBUFFORCE || name == unix.SO_SNDBUFFORCE) {
		return unix.EPERM // as without CAP_NET_ADMIN: an image must not take the host's memory
	}
	if _, set := boot.Passed(level, name); !set && !slices.Contains(connectionOptions[level], name) &&
		!(s.cfg.Whole && slices.Contains(socketOptions[level], name)) {
		return unix.ENOPROTOOPT
	}
	return unix.SetsockoptString(fd, level, name, string(o.Value))
}

// get is boot.SocketGet.
func get(fd int, r *boot.SocketRequest, reply *boot.SocketReply) error {
	if len(r.Options) != 1 {
		return unix.EINVAL
	}
	o := r.Options[0]
	level, name := int(int32(o.Level)), int(int32(o.Name))
	if read, _ := boot.Passed(level, name); !read && !slices.Contains(connectionOptions[level], name) && !slices.Contains(socketOptions[level], name) {
		return unix.ENOPROTOOPT
	}
	value, err := getsockopt(fd, level, name, len(o.Value))
	reply.Value = value
	return err
}

// connectionOptions are the options by level that the server sets besides
// boot.PassedOptions, for any image. The kernel bounds what they cost.
var connectionOptions = map[int][]int{
	unix.SOL_SOCKET: {unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_PRIORITY},
	unix.SOL_TCP:    {unix.TCP_MAXSEG, unix.TCP_WINDOW_CLAMP},
}

// socketOptions are those that it sets for an image that has the whole network of the
// namespace. Some need a capability, which the server has or has not. Options that attach
// programs, change the protocol or bypass it are missing, as in boot.PassedOptions.
var socketOptions = map[int][]int{
	unix.SOL_SOCKET: {
		unix.SO_REUSEADDR, unix.SO_REUSEPORT, unix.SO_BROADCAST, unix.SO_MARK, unix.SO_BINDTODEVICE, unix.SO_BINDTOIFINDEX,
		unix.SO_DONTROUTE, unix.SO_OOBINLINE, unix.SO_NO_CHECK, unix.SO_INCOMING_CPU, unix.SO_BUSY_POLL,
		unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS, unix.SO_RXQ_OVFL,
	},
	unix.SOL_TCP: {unix.TCP_DEFER_ACCEPT},
	unix.SOL_UDP: {unix.UDP_SEGMENT, unix.UDP_GRO},
	unix.SOL_IP: {
		unix.IP_PKTINFO, unix.IP_RECVTTL, unix.IP_RECVTOS, unix.IP_RECVERR, unix.IP_RECVORIGDSTADDR, unix.IP_MTU_DISCOVER,
		unix.IP_FREEBIND, unix.IP_TRANSPARENT, unix.IP_BIND_ADDRESS_NO_PORT, unix.IP_MINTTL, unix.IP_UNICAST_IF,
		unix.IP_MULTICAST_IF, unix.IP_MULTICAST_TTL, unix.IP_MULTICAST_LOOP, unix.IP_MULTICAST_ALL,
		unix.IP_ADD_MEMBERSHIP, unix.IP_DROP_MEMBERSHIP, unix.IP_ADD_SOURCE_MEMBERSHIP, unix.IP_DROP_SOURCE_MEMBERSHIP,
		unix.IP_BLOCK_SOURCE, unix.IP_UNBLOCK_SOURCE, unix.MCAST_JOIN_GROUP, unix.MCAST_LEAVE_GROUP,
		unix.MCAST_JOIN_SOURCE_GROUP, unix.MCAST_LEAVE_SOURCE_GROUP, unix.MCAST_BLOCK_SOURCE, unix.MCAST_UNBLOCK_SOURCE,
	},
	unix.SOL_IPV6: {
		unix.IPV6_V6ONLY, unix.IPV6_RECVPKTINFO, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVTCLASS, unix.IPV6_RECVERR,
		unix.IPV6_RECVORIGDSTADDR, unix.IPV6_MTU_DISCOVER, unix.IPV6_DONTFRAG, unix.IPV6_FREEBIND, unix.IPV6_TRANSPARENT,
		unix.IPV6_MINHOPCOUNT, unix.IPV6_ADDR_PREFERENCES, unix.IPV6_UNICAST_IF,
		unix.IPV6_MULTICAST_IF, unix.IPV6_MULTICAST_HOPS, unix.IPV6_MULTICAST_LOOP, unix.IPV6_MULTICAST_ALL,
		unix.IPV6_JOIN_GROUP, unix.IPV6_LEAVE_GROUP, unix.MCAST_JOIN_GROUP, unix.MCAST_LEAVE_GROUP,
		unix.MCAST_JOIN_SOURCE_GROUP, unix.MCAST_LEAVE_SOURCE_GROUP, unix.MCAST_BLOCK_SOURCE, unix.MCAST_UNBLOCK_SOURCE,
	},
}
