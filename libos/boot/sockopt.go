package boot

import "github.com/pith-os/pith/libos/linux"

// PassedOption is an option of setsockopt(2) and getsockopt(2) that an image may use on
// every descriptor that it accepts or that the monitor passes.
type PassedOption struct {
	Level, Name int
	Set         bool // setsockopt is permitted, too
}

// PassedOptions are all such options. The filter of a confined process permits no others. With
// every value, each affects only the connection of its own descriptor, and makes the kernel
// load, attach or allocate nothing. Options that reach further (buffer sizes, filters,
// marks, devices, IP options, groups, upper-layer protocols) stay with the monitor.
var PassedOptions = []PassedOption{
	{linux.SOL_SOCKET, linux.SO_ERROR, false},
	{linux.SOL_SOCKET, linux.SO_ACCEPTCONN, false},
	{linux.SOL_SOCKET, linux.SO_KEEPALIVE, true},
	{linux.SOL_SOCKET, linux.SO_LINGER, true},
	{linux.SOL_SOCKET, linux.SO_RCVLOWAT, true},
	{linux.SOL_SOCKET, linux.SO_SNDBUF, false},
	{linux.SOL_SOCKET, linux.SO_RCVBUF, false},
	{linux.SOL_TCP, linux.TCP_NODELAY, true},
	{linux.SOL_TCP, linux.TCP_CORK, true},
	{linux.SOL_TCP, linux.TCP_QUICKACK, true},
	{linux.SOL_TCP, linux.TCP_KEEPIDLE, true},
	{linux.SOL_TCP, linux.TCP_KEEPINTVL, true},
	{linux.SOL_TCP, linux.TCP_KEEPCNT, true},
	{linux.SOL_TCP, linux.TCP_SYNCNT, true},
	{linux.SOL_TCP, linux.TCP_LINGER2, true},
	{linux.SOL_TCP, linux.TCP_USER_TIMEOUT, true},
	{linux.SOL_TCP, linux.TCP_NOTSENT_LOWAT, true},
	{linux.SOL_TCP, linux.TCP_MAXSEG, false},
	{linux.SOL_TCP, linux.TCP_INFO, false},
	{linux.SOL_TCP, linux.TCP_CONGESTION, false},
	{linux.SOL_IP, linux.IP_TOS, true},
	{linux.SOL_IP, linux.IP_TTL, true},
	{linux.SOL_IP, linux.IP_MTU, false},
	{linux.SOL_IP, linux.SO_ORIGINAL_DST, false},
	{linux.SOL_IPV6, linux.IPV6_TCLASS, true},
	{linux.SOL_IPV6, linux.IPV6_UNICAST_HOPS, true},
	{linux.SOL_IPV6, linux.IPV6_MTU, false},
	{linux.SOL_IPV6, linux.SO_ORIGINAL_DST, false},
}

// Passed reports whether an image may read and set an option of a passed descriptor.
func Passed(level, name int) (read, set bool) {
	for _, o := range PassedOptions {
		if o.Level == level && o.Name == name {
			return true, o.Set
		}
	}
	return false, false
}
