package trace

import (
	"strconv"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// optionSet returns the key of the set with the names of a level's socket options.
func optionSet(level uintptr) string {
	switch level {
	case linux.SOL_SOCKET:
		return "SO_"
	case linux.SOL_IP:
		return "IP_"
	case linux.SOL_TCP:
		return "TCP_"
	case linux.SOL_UDP:
		return "UDP_"
	case linux.SOL_IPV6:
		return "IPV6_"
	}
	return ""
}

// protocol prints the third argument of socket(2). Its meaning depends on the family.
func (p *printer) protocol(v uintptr) {
	switch p.args[0] {
	case linux.AF_INET, linux.AF_INET6:
		p.names("IPPROTO_", uint64(v))
	case linux.AF_NETLINK:
		p.names("NETLINK_", uint64(v))
	default:
		p.int(int64(int32(v)))
	}
}

// length prints a length that the call reads and changes.
func (p *printer) length(v uintptr) {
	n := at[uint32](v)
	if n == nil {
		p.pointer(v)
		return
	}
	p.num("[", int64(p.before))
	if *n != p.before && p.errno == 0 {
		p.num(" => ", int64(*n))
	}
	p.text("]")
}

// peer prints an address that the call filled in. Its length is the next argument.
func (p *printer) peer(v uintptr) {
	if n := at[uint32](p.args[p.next+1]); n != nil {
		p.sockaddr(v, uintptr(min(*n, p.before)))
		return
	}
	p.pointer(v)
}

// sockaddr prints a socket address of n bytes.
func (p *printer) sockaddr(addr, n uintptr) {
	if addr == 0 || n < 2 {
		p.pointer(addr)
		return
	}
	b := slice(addr, min(n, linux.SockaddrMax))
	family := uint64(b[0]) | uint64(b[1])<<8
	p.text("{sa_family=")
	p.names("AF_", family)
	switch {
	case family == linux.AF_INET && n >= 16:
		p.num(", sin_port=htons(", int64(b[2])<<8|int64(b[3]))
		p.text(`), sin_addr=inet_addr("`)
		p.dotted(b[4:8])
		p.text(`")`)
	case family == linux.AF_INET6 && n >= 28:
		p.num(", sin6_port=htons(", int64(b[2])<<8|int64(b[3]))
		p.num("), sin6_flowinfo=htonl(", int64(b[4])<<24|int64(b[5])<<16|int64(b[6])<<8|int64(b[7]))
		p.text(`), inet_pton(AF_INET6, "`)
		p.ipv6((*[16]byte)(b[8:]))
		p.num(`", &sin6_addr), sin6_scope_id=`, int64(*(*uint32)(unsafe.Pointer(&b[24]))))
	case family == linux.AF_UNIX:
		p.unixPath(b[2:])
	case family == linux.AF_NETLINK && n >= 12:
		p.num(", nl_pid=", int64(*(*uint32)(unsafe.Pointer(&b[4]))))
		groups := strconv.FormatUint(uint64(*(*uint32)(unsafe.Pointer(&b[8]))), 16)
		p.text(", nl_groups=")
		p.text("00000000"[len(groups):] + groups)
	case n > 2:
		p.text(", sa_data=")
		p.quoted(b[2:], false)
	}
	p.text("}")
}

// unixPath prints sun_path: a path, a name in the abstract namespace, or nothing.
func (p *printer) unixPath(path []byte) {
	if len(path) == 0 {
		return
	}
	p.text(", sun_path=")
	if path[0] == 0 {
		p.text("@")
		path = path[1:]
	} else {
		for i, c := range path {
			if c == 0 {
				path = path[:i]
				break
			}
		}
	}
	p.quoted(path, false)
}

func (p *printer) dotted(b []byte) {
	for i, c := range b {
		if i > 0 {
			p.text(".")
		}
		p.int(int64(c))
	}
}

// ipv6 prints an address in the form of RFC 5952.
func (p *printer) ipv6(b *[16]byte) {
	var group [8]uint16
	for i := range group {
		group[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	if group[5] == 0xffff && group[0]|group[1]|group[2]|group[3]|group[4] == 0 {
		p.text("::ffff:")
		p.dotted(b[12:])
		return
	}
	// The longest run of at least two zeros becomes "::".
	from, to := 8, 8
	for i := 0; i < 8; i++ {
		j := i
		for j < 8 && group[j] == 0 {
			j++
		}
		if j-i > max(to-from, 1) {
			from, to = i, j
		}
		i = max(i, j-1)
	}
	for i := 0; i < 8; i++ {
		if i == from {
			p.text("::")
			i = to
			if i == 8 {
				break
			}
		} else if i > 0 {
			p.text(":")
		}
		p.out = strconv.AppendUint(p.out, uint64(group[i]), 16)
	}
}

// option prints a socket option's value of n bytes.
func (p *printer) option(v, n uintptr) {
	socket := p.args[1] == linux.SOL_SOCKET
	switch opt := p.args[2]; {
	case n == 4:
		p.num("[", int64(*at[int32](v)))
		p.text("]")
	case n == 8 && socket && opt == linux.SO_LINGER:
		l := at[linux.Linger](v)
		p.num("{l_onoff=", int64(l.On))
		p.num(", l_linger=", int64(l.Seconds))
		p.text("}")
	case n == 12 && socket && opt == linux.SO_PEERCRED:
		c := at[linux.Ucred](v)
		p.num("{pid=", int64(c.PID))
		p.num(", uid=", int64(c.UID))
		p.num(", gid=", int64(c.GID))
		p.text("}")
	case n == 16 && socket && (opt == linux.SO_RCVTIMEO || opt == linux.SO_SNDTIMEO):
		p.timeval(at[linux.Timeval](v))
	default:
		p.bytes(v, n, stringMax)
	}
}

// msghdr prints a message with filled bytes in its buffers.
func (p *printer) msghdr(h *linux.Msghdr, filled uintptr) {
	p.text("{msg_name=")
	p.sockaddr(h.Name, uintptr(h.Namelen))
	namelen := h.Namelen
	if filled != ^uintptr(0) {
		namelen = p.before
	}
	p.num(", msg_namelen=", int64(namelen))
	if namelen != h.Namelen {
		p.num(" => ", int64(h.Namelen))
	}
	p.text(", msg_iov=")
	p.iovec(h.Iov, uintptr(h.Iovlen), filled)
	p.num(", msg_iovlen=", int64(h.Iovlen))
	if h.Control != 0 && h.Controllen >= linux.CmsghdrSize {
		p.text(", msg_control=[")
		p.control(h.Control, h.Control+uintptr(h.Controllen))
		p.text("]")
	}
	p.num(", msg_controllen=", int64(h.Controllen))
	p.text(", msg_flags=")
	p.names("MSG_", uint64(uint32(h.Flags)))
	p.text("}")
}

// control prints control messages (cmsg(3)) with the descriptors in them.
func (p *printer) control(v, end uintptr) {
	for first := true; v+linux.CmsghdrSize <= end; first = false {
		c := at[linux.Cmsghdr](v)
		if c.Len < linux.CmsghdrSize || uintptr(c.Len) > end-v {
			return
		}
		if !first {
			p.text(", ")
		}
		p.num("{cmsg_len=", int64(c.Len))
		p.text(", cmsg_level=")
		p.names("SOL_", uint64(uint32(c.Level)))
		p.text(", cmsg_type=")
		if c.Level == linux.SOL_SOCKET && c.Type == linux.SCM_RIGHTS {
			p.text("SCM_RIGHTS, cmsg_data=")
			list(p, v+linux.CmsghdrSize, (uintptr(c.Len)-linux.CmsghdrSize)/4, func(fd *int32) { p.int(int64(*fd)) })
		} else {
			p.hex(uint64(uint32(c.Type)))
		}
		p.text("}")
		v += (uintptr(c.Len) + 7) &^ 7
	}
}
