package linux

// NETLINK_ROUTE is the protocol of rtnetlink(7).
const NETLINK_ROUTE = 0

// NlMsghdr is struct nlmsghdr (netlink(7)), 16 bytes.
type NlMsghdr struct {
	Len   uint32 // with the header
	Type  uint16
	Flags uint16
	Seq   uint32
	PID   uint32
}

// Control messages and flags of netlink(7) (include/uapi/linux/netlink.h).
const (
	NLMSG_NOOP    = 1
	NLMSG_ERROR   = 2
	NLMSG_DONE    = 3
	NLM_F_REQUEST = 0x1
	NLM_F_MULTI   = 0x2
	NLM_F_ACK     = 0x4
	NLM_F_DUMP    = 0x300
)

// Messages of rtnetlink(7) (include/uapi/linux/rtnetlink.h).
const (
	RTM_NEWLINK  = 16
	RTM_GETLINK  = 18
	RTM_NEWADDR  = 20
	RTM_GETADDR  = 22
	RTM_NEWROUTE = 24
	RTM_GETROUTE = 26
	RTM_NEWNEIGH = 28
	RTM_GETNEIGH = 30
	RTM_MAX      = 123
)

// IfInfomsg is struct ifinfomsg, 16 bytes.
type IfInfomsg struct {
	Family uint8
	_      uint8
	Type   uint16
	Index  int32
	Flags  uint32
	Change uint32
}

// IfAddrmsg is struct ifaddrmsg, 8 bytes.
type IfAddrmsg struct {
	Family, Prefixlen, Flags, Scope uint8
	Index                           uint32
}

// RtMsg is struct rtmsg, 12 bytes.
type RtMsg struct {
	Family, DstLen, SrcLen, TOS, Table, Protocol, Scope, Type uint8

	Flags uint32
}

// Attributes of links, addresses and routes (include/uapi/linux/if_link.h,
// if_addr.h, rtnetlink.h).
const (
	IFLA_ADDRESS   = 1
	IFLA_BROADCAST = 2
	IFLA_IFNAME    = 3
	IFLA_MTU       = 4
	IFLA_QDISC     = 6
	IFLA_TXQLEN    = 13
	IFLA_OPERSTATE = 16

	IFA_ADDRESS   = 1
	IFA_LOCAL     = 2
	IFA_LABEL     = 3
	IFA_BROADCAST = 4
	IFA_FLAGS     = 8

	RTA_DST     = 1
	RTA_OIF     = 4
	RTA_GATEWAY = 5
	RTA_PREFSRC = 7
	RTA_TABLE   = 15
)

// Values in messages of rtnetlink(7).
const (
	IFA_F_PERMANENT   = 0x80
	IF_OPER_UNKNOWN   = 0
	IF_OPER_DOWN      = 2
	IF_OPER_UP        = 6
	RT_SCOPE_UNIVERSE = 0
	RT_SCOPE_LINK     = 253
	RT_SCOPE_HOST     = 254
	RT_TABLE_MAIN     = 254
	RTPROT_KERNEL     = 2
	RTPROT_BOOT       = 3
	RTN_UNICAST       = 1
)
