package inet

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
)

// dump sends an rtnetlink request. It returns the types of the replies and
// their values of attribute attr, up to NLMSG_DONE, an error or an
// acknowledgement.
func (k *kernel) dump(typ, flags int, body []byte, attr int) (types []uint16, values [][]byte) {
	s := k.socket(linux.AF_NETLINK, linux.SOCK_RAW, linux.NETLINK_ROUTE)
	k.bind("bind netlink", s, appendValue(nil, &linux.SockaddrNetlink{Family: linux.AF_NETLINK}))
	req := appendValue(nil, &linux.NlMsghdr{
		Len: uint32(nlHeaderLen + len(body)), Type: uint16(typ), Flags: uint16(linux.NLM_F_REQUEST | flags), Seq: 7,
	})
	req = append(req, body...)
	to := appendValue(nil, &linux.SockaddrNetlink{Family: linux.AF_NETLINK})
	k.send("request", s, string(req), 0, to)
	for range 16 {
		buf := make([]byte, 64<<10)
		n, errno := k.call(linux.SYS_RECVFROM, s, k.bytes(buf), uintptr(len(buf)), linux.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			return types, values
		}
		for b := buf[:n]; len(b) >= nlHeaderLen; {
			h, _ := socket.Get[linux.NlMsghdr](b)
			if h.Seq != 7 {
				k.note("sequence %d", h.Seq)
			}
			types = append(types, h.Type)
			msg := b[nlHeaderLen:h.Len]
			if h.Type == linux.NLMSG_ERROR {
				e, _ := socket.Get[int32](msg)
				k.note("error %d", e)
				return types, values
			}
			if h.Type == linux.NLMSG_DONE {
				return types, values
			}
			size := map[int]int{linux.RTM_NEWLINK: 16, linux.RTM_NEWADDR: 8, linux.RTM_NEWROUTE: 12}[int(h.Type)]
			if v, ok := findAttr(msg[size:], attr); ok {
				values = append(values, v)
			}
			b = b[min(align4(int(h.Len)), len(b)):]
		}
	}
	return types, values
}

func TestNetlinkReportsLoopback(t *testing.T) {
	differ(t, func(k *kernel) {
		link := make([]byte, 16)
		types, names := k.dump(linux.RTM_GETLINK, linux.NLM_F_DUMP, link, linux.IFLA_IFNAME)
		k.note("first %q, ends with %d", names[0], types[len(types)-1])
		_, mtus := k.dump(linux.RTM_GETLINK, linux.NLM_F_DUMP, link, linux.IFLA_MTU)
		k.note("mtu %x", mtus[0])
		_, hw := k.dump(linux.RTM_GETLINK, linux.NLM_F_DUMP, link, linux.IFLA_ADDRESS)
		k.note("hardware %x", hw[0])
		_, addrs := k.dump(linux.RTM_GETADDR, linux.NLM_F_DUMP, []byte{linux.AF_INET, 0, 0, 0, 0, 0, 0, 0}, linux.IFA_LOCAL)
		k.note("address %v", addrs[0])

		byName := append(make([]byte, 16), 7, 0, linux.IFLA_IFNAME, 0, 'l', 'o', 0, 0)
		types, names = k.dump(linux.RTM_GETLINK, linux.NLM_F_ACK, byName, linux.IFLA_IFNAME)
		k.note("by name %v %q", types, names)
		none := append(make([]byte, 16), 9, 0, linux.IFLA_IFNAME, 0, 'n', 'o', 'n', 'e', 0, 0, 0, 0)
		types, _ = k.dump(linux.RTM_GETLINK, linux.NLM_F_ACK, none, linux.IFLA_IFNAME)
		k.note("none %v", types)
	})
}

func TestInterfaceRequests(t *testing.T) {
	differ(t, func(k *kernel) {
		s := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
		for _, c := range []struct {
			name  string
			req   uintptr
			bytes int
		}{
			{"lo", linux.SIOCGIFINDEX, 4},
			{"lo", linux.SIOCGIFADDR, 8},
			{"lo", linux.SIOCGIFNETMASK, 8},
			{"lo", linux.SIOCGIFMTU, 4},
			{"lo", linux.SIOCGIFHWADDR, 8},
			{"none", linux.SIOCGIFINDEX, 0},
		} {
			var r ifreq
			copy(r.Name[:], c.name)
			b := appendValue(nil, &r)
			_, errno := k.call(linux.SYS_IOCTL, s, c.req, k.bytes(b), 0, 0, 0)
			k.note("%s %#x: %x %v", c.name, c.req, b[16:16+c.bytes], errno)
		}
		b := make([]byte, unsafe.Sizeof(ifreq{}))
		b[16] = 1
		_, errno := k.call(linux.SYS_IOCTL, s, linux.SIOCGIFNAME, k.bytes(b), 0, 0, 0)
		k.note("name of 1: %s %v", cString(b), errno)
		k.do("unknown", linux.SYS_IOCTL, s, 0x54ff, k.bytes(b))
	})
}

func TestNetlinkRefusesChanges(t *testing.T) {
	s, errno := openNetlink(linux.SOCK_RAW, linux.NETLINK_ROUTE)
	if errno != 0 {
		t.Fatal(errno)
	}
	req := appendValue(nil, &linux.NlMsghdr{Len: uint32(nlHeaderLen + 16), Type: linux.RTM_NEWLINK, Flags: linux.NLM_F_REQUEST | linux.NLM_F_ACK})
	if _, errno := s.Write(append(req, make([]byte, 16)...)); errno != 0 {
		t.Fatal(errno)
	}
	b := make([]byte, 100)
	n, errno := s.Read(b)
	if errno != 0 {
		t.Fatal(errno)
	}
	h, _ := socket.Get[linux.NlMsghdr](b)
	e, _ := socket.Get[int32](b[nlHeaderLen:n])
	if got, want := fmt.Sprint(h.Type, e), fmt.Sprint(linux.NLMSG_ERROR, -int(linux.EPERM)); got != want {
		t.Errorf("reply is %s, want %s (NLMSG_ERROR with EPERM)", got, want)
	}
}
