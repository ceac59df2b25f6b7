package linux

// Internet protocols (include/uapi/linux/in.h).
const (
	IPPROTO_IP     = 0
	IPPROTO_ICMP   = 1
	IPPROTO_TCP    = 6
	IPPROTO_UDP    = 17
	IPPROTO_IPV6   = 41
	IPPROTO_ICMPV6 = 58
	IPPROTO_RAW    = 255
	IPPROTO_MAX    = 263
)

// Options of SOL_IP (include/uapi/linux/in.h; ip(7)).
const (
	IP_TOS             = 1
	IP_TTL             = 2
	IP_HDRINCL         = 3
	IP_OPTIONS         = 4
	IP_RECVOPTS        = 6
	IP_PKTINFO         = 8
	IP_MTU_DISCOVER    = 10
	IP_RECVERR         = 11
	IP_RECVTTL         = 12
	IP_RECVTOS         = 13
	IP_MTU             = 14
	IP_FREEBIND        = 15
	IP_TRANSPARENT     = 19
	IP_BIND_NO_PORT    = 24
	IP_MULTICAST_IF    = 32
	IP_MULTICAST_TTL   = 33
	IP_MULTICAST_LOOP  = 34
	IP_ADD_MEMBERSHIP  = 35
	IP_DROP_MEMBERSHIP = 36
	IP_MULTICAST_ALL   = 49
	IP_UNICAST_IF      = 50
)

// Options of SOL_IPV6 (include/uapi/linux/in6.h; ipv6(7)).
const (
	IPV6_CHECKSUM        = 7
	IPV6_UNICAST_HOPS    = 16
	IPV6_MULTICAST_IF    = 17
	IPV6_MULTICAST_HOPS  = 18
	IPV6_MULTICAST_LOOP  = 19
	IPV6_ADD_MEMBERSHIP  = 20
	IPV6_DROP_MEMBERSHIP = 21
	IPV6_MTU_DISCOVER    = 23
	IPV6_MTU             = 24
	IPV6_RECVERR         = 25
	IPV6_V6ONLY          = 26
	IPV6_RECVPKTINFO     = 49
	IPV6_PKTINFO         = 50
	IPV6_RECVHOPLIMIT    = 51
	IPV6_HOPLIMIT        = 52
	IPV6_RECVTCLASS      = 66
	IPV6_TCLASS          = 67
)

// Options of both SOL_IP and SOL_IPV6 (RFC 3678; include/uapi/linux/in.h).
const (
	MCAST_JOIN_GROUP  = 42
	MCAST_LEAVE_GROUP = 45
)

// SO_ORIGINAL_DST is the option of SOL_IP and SOL_IPV6 that returns where a connection
// went before a redirect (include/uapi/linux/netfilter_ipv4.h).
const SO_ORIGINAL_DST = 80

// ICMPV6_FILTER is the option of SOL_ICMPV6 (RFC 3542).
const ICMPV6_FILTER = 1

// Options of SOL_TCP (include/uapi/linux/tcp.h; tcp(7)).
const (
	TCP_NODELAY         = 1
	TCP_MAXSEG          = 2
	TCP_CORK            = 3
	TCP_KEEPIDLE        = 4
	TCP_KEEPINTVL       = 5
	TCP_KEEPCNT         = 6
	TCP_SYNCNT          = 7
	TCP_LINGER2         = 8
	TCP_DEFER_ACCEPT    = 9
	TCP_WINDOW_CLAMP    = 10
	TCP_INFO            = 11
	TCP_QUICKACK        = 12
	TCP_CONGESTION      = 13
	TCP_USER_TIMEOUT    = 18
	TCP_FASTOPEN        = 23
	TCP_NOTSENT_LOWAT   = 25
	TCP_ULP             = 31
	TCP_FASTOPEN_NOCOOK = 34
)

// TCP states of struct tcp_info and /proc/net/tcp (include/net/tcp_states.h).
const (
	TCP_ESTABLISHED = 1
	TCP_SYN_SENT    = 2
	TCP_SYN_RECV    = 3
	TCP_FIN_WAIT1   = 4
	TCP_FIN_WAIT2   = 5
	TCP_TIME_WAIT   = 6
	TCP_CLOSE       = 7
	TCP_CLOSE_WAIT  = 8
	TCP_LAST_ACK    = 9
	TCP_LISTEN      = 10
	TCP_CLOSING     = 11
)

// SockaddrInet4 is struct sockaddr_in (ip(7)), 16 bytes. Port is in network
// byte order.
type SockaddrInet4 struct {
	Family uint16
	Port   [2]byte
	Addr   [4]byte
	_      [8]byte
}

// SockaddrInet6 is struct sockaddr_in6 (ipv6(7)), 28 bytes. Port is in network
// byte order.
type SockaddrInet6 struct {
	Family   uint16
	Port     [2]byte
	Flowinfo uint32
	Addr     [16]byte
	ScopeID  uint32
}

// SockaddrLink is struct sockaddr_ll (packet(7)), 20 bytes. Protocol is in
// network byte order.
type SockaddrLink struct {
	Family   uint16
	Protocol [2]byte
	Ifindex  int32
	Hatype   uint16
	Pkttype  uint8
	Halen    uint8
	Addr     [8]byte
}

// SockaddrNetlink is struct sockaddr_nl (netlink(7)), 12 bytes.
type SockaddrNetlink struct {
	Family uint16
	_      uint16
	PortID uint32
	Groups uint32
}

// TCPInfo is the beginning of struct tcp_info (include/uapi/linux/tcp.h): what
// Linux 2.6 had, 104 bytes. Times are in microseconds.
type TCPInfo struct {
	State, CAState, Retransmits, Probes, Backoff, Options, WScale, Flags uint8

	RTO, ATO, SndMSS, RcvMSS                             uint32
	Unacked, Sacked, Lost, Retrans, Fackets              uint32
	LastDataSent, LastAckSent, LastDataRecv, LastAckRecv uint32
	PMTU, RcvSsthresh, RTT, RTTVar, SndSsthresh, SndCwnd uint32
	AdvMSS, Reordering, RcvRTT, RcvSpace, TotalRetrans   uint32
}

// Ioctls of network interfaces (include/uapi/linux/sockios.h; netdevice(7)).
const (
	SIOCGIFNAME    = 0x8910
	SIOCGIFCONF    = 0x8912
	SIOCGIFFLAGS   = 0x8913
	SIOCGIFADDR    = 0x8915
	SIOCGIFBRDADDR = 0x8919
	SIOCGIFNETMASK = 0x891b
	SIOCGIFMETRIC  = 0x891d
	SIOCGIFMTU     = 0x8921
	SIOCGIFHWADDR  = 0x8927
	SIOCGIFINDEX   = 0x8933
	SIOCGIFTXQLEN  = 0x8942
)

// Flags of network interfaces (include/uapi/linux/if.h).
const (
	IFF_UP        = 0x1
	IFF_BROADCAST = 0x2
	IFF_LOOPBACK  = 0x8
	IFF_RUNNING   = 0x40
	IFF_MULTICAST = 0x1000
	IFF_LOWER_UP  = 0x10000
	IFNAMSIZ      = 16
)

// Hardware types of network interfaces (include/uapi/linux/if_arp.h).
const (
	ARPHRD_ETHER    = 1
	ARPHRD_LOOPBACK = 772
)
