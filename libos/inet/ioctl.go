package inet

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// ifreq is struct ifreq (netdevice(7)), 40 bytes: a name, and an address or a
// number depending on the request.
type ifreq struct {
	Name  [linux.IFNAMSIZ]byte
	Value [24]byte
}

// ifconf is struct ifconf.
type ifconf struct {
	Len int32 // in bytes
	_   int32
	Req uintptr
}

// Ioctl implements file.File.
func (s *base) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	switch req {
	case linux.FIONREAD, linux.TIOCOUTQ:
		opt := tcpip.ReceiveQueueSizeOption
		if req == linux.TIOCOUTQ {
			opt = tcpip.SendQueueSizeOption
		}
		n, err := s.ep.GetSockOptInt(opt)
		if err != nil {
			return 0, linux.EINVAL
		}
		out, errno := call.At[int32](arg)
		if errno == 0 {
			*out = int32(n)
		}
		return 0, errno
	}
	return interfaceIoctl(req, arg)
}

// interfaceIoctl handles the requests about interfaces, which any socket takes.
func interfaceIoctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	switch req {
	case linux.SIOCGIFCONF:
		c, errno := call.At[ifconf](arg)
		if errno != 0 {
			return 0, errno
		}
		return 0, interfaceList(c)
	case linux.SIOCGIFNAME, linux.SIOCGIFFLAGS, linux.SIOCGIFADDR, linux.SIOCGIFBRDADDR, linux.SIOCGIFNETMASK,
		linux.SIOCGIFMETRIC, linux.SIOCGIFMTU, linux.SIOCGIFHWADDR, linux.SIOCGIFINDEX, linux.SIOCGIFTXQLEN:
		if sockets().Whole() {
			return 0, nsInterface(req, arg)
		}
		r, errno := call.At[ifreq](arg)
		if errno != 0 {
			return 0, errno
		}
		return 0, interfaceRequest(req, r)
	}
	return 0, linux.ENOTTY
}

// interfaceList is SIOCGIFCONF. It lists the interfaces with an IPv4 address.
func interfaceList(c *ifconf) linux.Errno {
	const size = int32(unsafe.Sizeof(ifreq{}))
	used := int32(0)
	ids, info := nics()
	for _, id := range ids {
		nic := info[id]
		addr, ok := ipv4Address(&nic)
		if !ok {
			continue
		}
		if c.Req != 0 {
			if used+size > c.Len {
				break
			}
			r, errno := call.At[ifreq](c.Req + uintptr(used))
			if errno != 0 {
				return errno
			}
			*r = ifreq{}
			copy(r.Name[:], nic.Name)
			putInet4(r, addr.Address)
		}
		used += size
	}
	c.Len = used
	return 0
}

// ipv4Address returns the interface's first IPv4 address.
func ipv4Address(nic *stack.NICInfo) (tcpip.AddressWithPrefix, bool) {
	for _, a := range nic.ProtocolAddresses {
		if a.Protocol == header.IPv4ProtocolNumber {
			return a.AddressWithPrefix, true
		}
	}
	return tcpip.AddressWithPrefix{}, false
}

// putInet4 writes a struct sockaddr_in.
func putInet4(r *ifreq, a tcpip.Address) {
	clear(r.Value[:])
	copy(r.Value[:], encode(nil, linux.AF_INET, tcpip.FullAddress{Addr: a}))
}

// interfaceRequest handles a request for one interface.
func interfaceRequest(req uint, r *ifreq) linux.Errno {
	put32 := func(v uint32) { copy(r.Value[:], appendValue(nil, &v)) }
	name := cString(r.Name[:])
	ids, info := nics()
	for _, id := range ids {
		nic := info[id]
		if req == linux.SIOCGIFNAME {
			if index := uint32(r.Value[0]) | uint32(r.Value[1])<<8; index != uint32(id) {
				continue
			}
			r.Name = [linux.IFNAMSIZ]byte{}
			copy(r.Name[:], nic.Name)
			return 0
		}
		if nic.Name != name {
			continue
		}
		addr, ok := ipv4Address(&nic)
		switch req {
		case linux.SIOCGIFFLAGS:
			flags := uint16(nicFlags(&nic))
			copy(r.Value[:], []byte{byte(flags), byte(flags >> 8)})
		case linux.SIOCGIFADDR, linux.SIOCGIFBRDADDR, linux.SIOCGIFNETMASK:
			if !ok {
				return linux.EADDRNOTAVAIL
			}
			subnet := addr.Subnet()
			switch {
			case req == linux.SIOCGIFADDR:
				putInet4(r, addr.Address)
			case req == linux.SIOCGIFNETMASK:
				mask := subnet.Mask()
				putInet4(r, tcpip.AddrFromSlice(mask.AsSlice()))
			case nic.Flags.Loopback:
				putInet4(r, tcpip.Address{})
			default:
				putInet4(r, subnet.Broadcast())
			}
		case linux.SIOCGIFMETRIC:
			put32(0)
		case linux.SIOCGIFMTU:
			put32(nic.MTU)
		case linux.SIOCGIFINDEX:
			put32(uint32(id))
		case linux.SIOCGIFTXQLEN:
			put32(maxBacklog)
		case linux.SIOCGIFHWADDR:
			clear(r.Value[:])
			typ := hardwareType(nic.ARPHardwareType)
			r.Value[0], r.Value[1] = byte(typ), byte(typ>>8)
			copy(r.Value[2:], nic.LinkAddress)
		}
		return 0
	}
	return linux.ENODEV
}
