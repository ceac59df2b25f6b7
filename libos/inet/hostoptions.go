package inet

import (
	"slices"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
)

// hostOption is an option of a hostSocket whose value is an int.
type hostOption struct {
	level, name int
	initial     int32
	min, max    int32 // other values are EINVAL
	kind        optionKind
}

type optionKind uint8

const (
	numberOption optionKind = iota
	flagOption              // reads as 0 or 1
	bufferSize              // a size that Linux doubles (socket(7))
)

const maxInt32 = 1<<31 - 1

// hostOptionTable has the options that a hostSocket records. Before the host
// makes its socket, it gets what the program has set. Later the options in
// boot.PassedOptions reach it, and the program reads back what it has set of the
// others.
var hostOptionTable = [...]hostOption{
	{linux.SOL_SOCKET, linux.SO_KEEPALIVE, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_SOCKET, linux.SO_REUSEADDR, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_SOCKET, linux.SO_REUSEPORT, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_SOCKET, linux.SO_BROADCAST, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_SOCKET, linux.SO_SNDBUF, tcpBufferDefault, -maxInt32, maxInt32, bufferSize},
	{linux.SOL_SOCKET, linux.SO_RCVBUF, tcpBufferDefault, -maxInt32, maxInt32, bufferSize},
	{linux.SOL_SOCKET, linux.SO_RCVLOWAT, 1, 0, maxInt32, numberOption},
	{linux.SOL_SOCKET, linux.SO_PRIORITY, 0, -maxInt32, maxInt32, numberOption},
	{linux.SOL_SOCKET, linux.SO_MARK, 0, -maxInt32, maxInt32, numberOption},
	{linux.SOL_SOCKET, linux.SO_DONTROUTE, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_SOCKET, linux.SO_OOBINLINE, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_SOCKET, linux.SO_NO_CHECK, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_SOCKET, linux.SO_INCOMING_CPU, 0, -maxInt32, maxInt32, numberOption},
	{linux.SOL_SOCKET, linux.SO_BUSY_POLL, 0, 0, maxInt32, numberOption},
	{linux.SOL_TCP, linux.TCP_NODELAY, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_TCP, linux.TCP_CORK, 0, -maxInt32, maxInt32, flagOption},
	{linux.SOL_TCP, linux.TCP_QUICKACK, 1, -maxInt32, maxInt32, flagOption},
	{linux.SOL_TCP, linux.TCP_KEEPIDLE, 7200, 1, maxKeepIdle, numberOption},
	{linux.SOL_TCP, linux.TCP_KEEPINTVL, 75, 1, maxKeepIntvl, numberOption},
	{linux.SOL_TCP, linux.TCP_KEEPCNT, 9, 1, maxKeepCount, numberOption},
	{linux.SOL_TCP, linux.TCP_SYNCNT, 6, 1, 127, numberOption},
	{linux.SOL_TCP, linux.TCP_LINGER2, 60, -maxInt32, maxInt32, numberOption},
	{linux.SOL_TCP, linux.TCP_USER_TIMEOUT, 0, 0, maxInt32, numberOption},
	{linux.SOL_TCP, linux.TCP_NOTSENT_LOWAT, 0, -maxInt32, maxInt32, numberOption},
	{linux.SOL_TCP, linux.TCP_MAXSEG, 536, 88, 32767, numberOption},
	{linux.SOL_TCP, linux.TCP_DEFER_ACCEPT, 0, -maxInt32, maxInt32, numberOption},
	{linux.SOL_TCP, linux.TCP_WINDOW_CLAMP, 0, 0, maxInt32, numberOption},
	{linux.SOL_TCP, linux.TCP_FASTOPEN, 0, -maxInt32, maxInt32, numberOption},
	{linux.SOL_IP, linux.IP_TOS, 0, -maxInt32, maxInt32, numberOption},
	{linux.SOL_IP, linux.IP_TTL, defaultTTL, 1, 255, numberOption},
	{linux.SOL_IPV6, linux.IPV6_TCLASS, 0, 0, 255, numberOption},
	{linux.SOL_IPV6, linux.IPV6_UNICAST_HOPS, defaultTTL, 0, 255, numberOption},
	{linux.SOL_IPV6, linux.IPV6_V6ONLY, 0, -maxInt32, maxInt32, flagOption},
}

// hostOptions are the options that the program has set on a hostSocket.
type hostOptions struct {
	mu     sync.Mutex
	values []recorded // in the order of the program's calls
	linger linux.Linger
	isSet  bool // linger is set
}

// recorded is an option that the program has set.
type recorded struct {
	*hostOption
	value int32 // as the program gave it
}

// findOption returns the option with that name, or nil. A socket of AF_INET has
// no options of IPv6.
func findOption(domain, level, name int) *hostOption {
	if level == linux.SOL_IPV6 && domain != linux.AF_INET6 {
		return nil
	}
	for i := range hostOptionTable {
		if o := &hostOptionTable[i]; o.level == level && o.name == name {
			return o
		}
	}
	return nil
}

// set records an option. It reports whether it knows the option.
func (o *hostOptions) set(domain, level, name int, val []byte) (known bool, errno linux.Errno) {
	if level == linux.SOL_SOCKET && name == linux.SO_LINGER {
		l, errno := socket.Get[linux.Linger](val)
		if errno == 0 {
			o.mu.Lock()
			o.linger, o.isSet = l, true
			o.mu.Unlock()
		}
		return true, errno
	}
	option := findOption(domain, level, name)
	if option == nil {
		return false, 0
	}
	v, errno := getInt(level, val)
	if errno != 0 {
		return true, errno
	}
	value := int32(v)
	if value == -1 && (level == linux.SOL_IP || level == linux.SOL_IPV6) { // the default (ip(7), ipv6(7))
		value = option.initial
	}
	if value < option.min || value > option.max {
		return true, linux.EINVAL
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.values {
		if o.values[i].hostOption == option {
			o.values[i].value = value
			return true, 0
		}
	}
	o.values = append(o.values, recorded{option, value})
	return true, 0
}

// get reads an option as the program has set it. It reports whether it knows
// the option.
func (o *hostOptions) get(domain, level, name int, val []byte) (n int, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case level == linux.SOL_SOCKET && name == linux.SO_LINGER:
		return socket.Put(val, o.linger), true
	case level == linux.SOL_TCP && name == linux.TCP_INFO:
		return socket.Put(val, linux.TCPInfo{State: linux.TCP_CLOSE}), true
	case level == linux.SOL_TCP && name == linux.TCP_CONGESTION:
		return copy(val, "cubic\x00"), true
	}
	option := findOption(domain, level, name)
	if option == nil {
		return 0, false
	}
	v := option.initial
	for _, r := range o.values {
		if r.hostOption == option {
			v = r.value
			switch option.kind {
			case flagOption:
				if v != 0 {
					v = 1
				}
			case bufferSize:
				v = 2 * min(max(v, sockMinSndBuf/2), sockMaxBuf)
			}
		}
	}
	return socket.Put(val, v), true
}

// list appends the options that the program has set.
func (o *hostOptions) list(to []boot.SocketOption) []boot.SocketOption {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.values {
		r := &o.values[i]
		to = append(to, boot.SocketOption{Level: uint32(r.level), Name: uint32(r.name), Value: appendValue(nil, &r.value)})
	}
	if o.isSet {
		to = append(to, boot.SocketOption{Level: linux.SOL_SOCKET, Name: linux.SO_LINGER, Value: appendValue(nil, &o.linger)})
	}
	return to
}

// inherit copies the options of from, and returns them.
func (o *hostOptions) inherit(from *hostOptions) []boot.SocketOption {
	from.mu.Lock()
	values, linger, isSet := slices.Clone(from.values), from.linger, from.isSet
	from.mu.Unlock()
	o.mu.Lock()
	o.values, o.linger, o.isSet = values, linger, isSet
	o.mu.Unlock()
	return o.list(nil)
}

// lingers reports whether close(2) may wait for the peer.
func (o *hostOptions) lingers() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.linger.On != 0 && o.linger.Seconds != 0
}

// v6Only reports whether IPV6_V6ONLY is set.
func (o *hostOptions) v6Only() bool {
	var v [4]byte
	_, _ = o.get(linux.AF_INET6, linux.SOL_IPV6, linux.IPV6_V6ONLY, v[:])
	return v[0] != 0
}
