package linux

// Address families (include/linux/socket.h).
const (
	AF_UNSPEC  = 0
	AF_UNIX    = 1
	AF_INET    = 2
	AF_INET6   = 10
	AF_NETLINK = 16
	AF_PACKET  = 17
	AF_VSOCK   = 40
	AF_MAX     = 46
)

// Socket types, and the flags that may be added to them
// (include/linux/net.h).
const (
	SOCK_STREAM    = 1
	SOCK_DGRAM     = 2
	SOCK_RAW       = 3
	SOCK_SEQPACKET = 5
	SOCK_TYPE_MASK = 0xf
	SOCK_NONBLOCK  = O_NONBLOCK
	SOCK_CLOEXEC   = O_CLOEXEC
)

// Levels of socket options and control messages (include/linux/socket.h).
const (
	SOL_IP      = 0
	SOL_SOCKET  = 1
	SOL_TCP     = 6
	SOL_UDP     = 17
	SOL_IPV6    = 41
	SOL_ICMPV6  = 58
	SOL_RAW     = 255
	SOL_PACKET  = 263
	SOL_NETLINK = 270
)

// Options of SOL_SOCKET (include/uapi/asm-generic/socket.h).
const (
	SO_DEBUG         = 1
	SO_REUSEADDR     = 2
	SO_TYPE          = 3
	SO_ERROR         = 4
	SO_DONTROUTE     = 5
	SO_BROADCAST     = 6
	SO_SNDBUF        = 7
	SO_RCVBUF        = 8
	SO_KEEPALIVE     = 9
	SO_OOBINLINE     = 10
	SO_NO_CHECK      = 11
	SO_PRIORITY      = 12
	SO_LINGER        = 13
	SO_REUSEPORT     = 15
	SO_PASSCRED      = 16
	SO_PEERCRED      = 17
	SO_RCVLOWAT      = 18
	SO_SNDLOWAT      = 19
	SO_RCVTIMEO      = 20
	SO_SNDTIMEO      = 21
	SO_BINDTODEVICE  = 25
	SO_ATTACH_FILTER = 26
	SO_DETACH_FILTER = 27
	SO_TIMESTAMP     = 29
	SO_ACCEPTCONN    = 30
	SO_PEERSEC       = 31
	SO_SNDBUFFORCE   = 32
	SO_RCVBUFFORCE   = 33
	SO_PASSSEC       = 34
	SO_TIMESTAMPNS   = 35
	SO_MARK          = 36
	SO_TIMESTAMPING  = 37
	SO_PROTOCOL      = 38
	SO_DOMAIN        = 39
	SO_RXQ_OVFL      = 40
	SO_PEEK_OFF      = 42
	SO_LOCK_FILTER   = 44
	SO_BUSY_POLL     = 46
	SO_INCOMING_CPU  = 49
	SO_COOKIE        = 57
	SO_PEERGROUPS    = 59
	SO_ZEROCOPY      = 60
	SO_TXTIME        = 61
	SO_RCVTIMEO_NEW  = 66
	SO_SNDTIMEO_NEW  = 67
)

// Flags of send and recv (include/linux/socket.h).
const (
	MSG_OOB          = 0x1
	MSG_PEEK         = 0x2
	MSG_DONTROUTE    = 0x4
	MSG_CTRUNC       = 0x8
	MSG_TRUNC        = 0x20
	MSG_DONTWAIT     = 0x40
	MSG_EOR          = 0x80
	MSG_WAITALL      = 0x100
	MSG_CONFIRM      = 0x800
	MSG_ERRQUEUE     = 0x2000
	MSG_NOSIGNAL     = 0x4000
	MSG_MORE         = 0x8000
	MSG_WAITFORONE   = 0x10000
	MSG_ZEROCOPY     = 0x4000000
	MSG_FASTOPEN     = 0x20000000
	MSG_CMSG_CLOEXEC = 0x40000000
)

// Control messages of SOL_SOCKET (include/linux/socket.h).
const (
	SCM_RIGHTS      = 1
	SCM_CREDENTIALS = 2
	SCM_MAX_FD      = 253 // descriptors in one message (include/net/scm.h)
)

// How shutdown(2) closes a connection.
const (
	SHUT_RD   = 0
	SHUT_WR   = 1
	SHUT_RDWR = 2
)

// SOMAXCONN is the largest backlog of listen(2) (net.core.somaxconn).
const SOMAXCONN = 4096

// Ioctls of sockets and pipes (include/uapi/asm-generic/ioctls.h).
const (
	TIOCOUTQ = 0x5411
	FIONREAD = 0x541b
	FIONBIO  = 0x5421
)

// SockaddrMax is the size of the largest socket address, struct
// sockaddr_storage.
const SockaddrMax = 128

// UnixPathMax is the size of sun_path in struct sockaddr_un (unix(7)).
const UnixPathMax = 108

// Msghdr is struct user_msghdr (recvmsg(2)), 56 bytes.
type Msghdr struct {
	Name       uintptr
	Namelen    uint32
	_          uint32
	Iov        uintptr
	Iovlen     uint64
	Control    uintptr
	Controllen uint64
	Flags      int32
	_          int32
}

// Mmsghdr is struct mmsghdr (recvmmsg(2)), 64 bytes.
type Mmsghdr struct {
	Hdr Msghdr
	Len uint32
	_   uint32
}

// Cmsghdr is struct cmsghdr (cmsg(3)): the head of a control message, which
// is aligned to 8 bytes.
type Cmsghdr struct {
	Len   uint64 // of head and data
	Level int32
	Type  int32
}

// CmsghdrSize is the size of Cmsghdr.
const CmsghdrSize = 16

// Ucred is struct ucred (unix(7)): who is at the other end.
type Ucred struct {
	PID int32
	UID uint32
	GID uint32
}

// Linger is struct linger (socket(7)).
type Linger struct {
	On      int32
	Seconds int32
}
