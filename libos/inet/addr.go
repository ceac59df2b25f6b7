package inet

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Sizes of socket addresses in bytes. inet6LenNoZone is the shortest AF_INET6
// address that Linux accepts (SIN6_LEN_RFC2133): without the scope ID.
const (
	inet4Len       = int(unsafe.Sizeof(linux.SockaddrInet4{}))
	inet6Len       = int(unsafe.Sizeof(linux.SockaddrInet6{}))
	inet6LenNoZone = inet6Len - 4
)

// family returns the address family at the start of addr, or AF_UNSPEC when
// addr is too short.
func family(addr []byte) int {
	f, errno := socket.Get[uint16](addr)
	if errno != 0 {
		return linux.AF_UNSPEC
	}
	return int(f)
}

// decode converts addr to the stack's form for a socket of the given domain. An
// AF_INET6 socket also accepts AF_INET addresses. The stack represents "any
// IPv4 address" in the mapped form, to distinguish it from "any address of both
// versions".
func decode(domain int, addr []byte) (tcpip.FullAddress, linux.Errno) {
	if len(addr) < 2 {
		return tcpip.FullAddress{}, linux.EINVAL
	}
	switch f := family(addr); {
	case f == linux.AF_INET:
		if len(addr) < inet4Len {
			return tcpip.FullAddress{}, linux.EINVAL
		}
		full := tcpip.FullAddress{Port: uint16(addr[2])<<8 | uint16(addr[3])}
		a := tcpip.AddrFrom4([4]byte(addr[4:8]))
		switch {
		case domain == linux.AF_INET6:
			full.Addr = mapped(a)
		case a != header.IPv4Any:
			full.Addr = a
		}
		return full, 0
	case f == linux.AF_INET6 && domain == linux.AF_INET6:
		if len(addr) < inet6LenNoZone {
			return tcpip.FullAddress{}, linux.EINVAL
		}
		full := tcpip.FullAddress{Port: uint16(addr[2])<<8 | uint16(addr[3])}
		if a := tcpip.AddrFrom16([16]byte(addr[8:24])); a != header.IPv6Any {
			full.Addr = a
		}
		if header.IsV6LinkLocalUnicastAddress(full.Addr) || header.IsV6LinkLocalMulticastAddress(full.Addr) {
			if zone, errno := socket.Get[uint32](addr[24:]); errno == 0 {
				full.NIC = tcpip.NICID(zone)
			}
		}
		return full, 0
	}
	return tcpip.FullAddress{}, linux.EAFNOSUPPORT
}

// encode appends the socket address of domain for full.
func encode(b []byte, domain int, full tcpip.FullAddress) []byte {
	if domain == linux.AF_INET {
		var a linux.SockaddrInet4
		a.Family = linux.AF_INET
		a.Port = [2]byte{byte(full.Port >> 8), byte(full.Port)}
		copy(a.Addr[:], full.Addr.AsSlice())
		return appendValue(b, &a)
	}
	a := linux.SockaddrInet6{Family: linux.AF_INET6}
	a.Port = [2]byte{byte(full.Port >> 8), byte(full.Port)}
	if full.Addr.Len() == header.IPv4AddressSize {
		full.Addr = mapped(full.Addr)
	}
	copy(a.Addr[:], full.Addr.AsSlice())
	if header.IsV6LinkLocalUnicastAddress(full.Addr) {
		a.ScopeID = uint32(full.NIC)
	}
	return appendValue(b, &a)
}

// mapped returns the IPv4-mapped IPv6 address of a (RFC 4291 §2.5.5.2).
func mapped(a tcpip.Address) tcpip.Address {
	v := [16]byte{10: 0xff, 11: 0xff}
	v4 := a.As4()
	copy(v[12:], v4[:])
	return tcpip.AddrFrom16(v)
}

// unmapped undoes mapped.
func unmapped(a tcpip.Address) tcpip.Address {
	if a.Len() == header.IPv6AddressSize && header.IsV4MappedAddress(a) {
		v := a.As16()
		return tcpip.AddrFrom4([4]byte(v[12:]))
	}
	return a
}

// loopbackFor replaces an unspecified destination by the loopback address,
// because Linux sends to the local host then.
func loopbackFor(domain int, full tcpip.FullAddress) tcpip.FullAddress {
	switch {
	case full.Addr.Len() == 0 && domain == linux.AF_INET:
		full.Addr = header.IPv4Loopback
	case full.Addr.Len() == 0:
		full.Addr = header.IPv6Loopback
	case unmapped(full.Addr) == header.IPv4Any:
		full.Addr = mapped(header.IPv4Loopback)
	}
	return full
}

// appendValue appends the bytes of a structure that has no padding.
func appendValue[T any](b []byte, v *T) []byte {
	return append(b, unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}
