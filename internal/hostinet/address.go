package hostinet

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// address reads a struct sockaddr of the image.
func address(b []byte) (netip.AddrPort, error) {
	if len(b) < 2 {
		return netip.AddrPort{}, unix.EINVAL
	}
	switch family := uint16(b[0]) | uint16(b[1])<<8; {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3])), nil
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6-4:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), uint16(b[2])<<8|uint16(b[3])), nil
	case family == unix.AF_INET || family == unix.AF_INET6:
		return netip.AddrPort{}, unix.EINVAL
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// unspecified reports whether a struct sockaddr has family AF_UNSPEC. With it, connect(2)
// removes the peer.
func unspecified(b []byte) bool { return b[0] == 0 && b[1] == 0 }

// zone returns sin6_scope_id of a struct sockaddr_in6 of the image.
func zone(b []byte) uint32 {
	if len(b) < unix.SizeofSockaddrInet6 {
		return 0
	}
	return uint32(b[24]) | uint32(b[25])<<8 | uint32(b[26])<<16 | uint32(b[27])<<24
}

// sockaddr returns a struct sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)).
func sockaddr(to netip.AddrPort, zone uint32) []byte {
	family := uint16(unix.AF_INET)
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	b := binary.NativeEndian.AppendUint16(nil, family)
	b = binary.BigEndian.AppendUint16(b, to.Port())
	if family == unix.AF_INET {
		return append(append(b, to.Addr().AsSlice()...), make([]byte, 8)...)
	}
	b = append(append(b, 0, 0, 0, 0), to.Addr().AsSlice()...)
	return binary.NativeEndian.AppendUint32(b, zone)
}

// connect is connect(2) with the bytes of a struct sockaddr, which the kernel checks. It
// takes AF_UNSPEC, too.
func connect(fd int, addr []byte) error { return withAddress(unix.SYS_CONNECT, fd, addr) }

// bind is bind(2) with the bytes of a struct sockaddr.
func bind(fd int, addr []byte) error { return withAddress(unix.SYS_BIND, fd, addr) }

func withAddress(call uintptr, fd int, addr []byte) error {
	// The pointer is to at least len(addr) bytes, and the call does not keep it.
	if _, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr))); errno != 0 {
		return errno
	}
	return nil
}

// name is getsockname(2) or getpeername(2).
func name(fd int, peer bool) ([]byte, error) {
	call := uintptr(unix.SYS_GETSOCKNAME)
	if peer {
		call = unix.SYS_GETPEERNAME
	}
	var b [boot.SocketAddrMax]byte
	n := uint32(len(b))
	// The kernel writes at most n bytes.
	if _, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&n))); errno != 0 {
		return nil, errno
	}
	return b[:min(int(n), len(b))], nil
}

// sendmsg is sendmsg(2) without blocking. An empty address is the connected peer.
func sendmsg(fd int, data, to, control []byte) error {
	// The pointers are to memory of the given lengths, which the call only reads.
	iov := unix.Iovec{Base: unsafe.SliceData(data)}
	iov.SetLen(len(data))
	msg := unix.Msghdr{Name: unsafe.SliceData(to), Namelen: uint32(len(to)), Iov: &iov, Iovlen: 1, Control: unsafe.SliceData(control)}
	msg.SetControllen(len(control))
	if _, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); errno != 0 {
		return errno
	}
	return nil
}

// received is a datagram that recvmsg has stored.
type received struct {
	n, control int // bytes
	addr       []byte
}

// recvmsg is recvmsg(2) without blocking.
func recvmsg(fd int, data, control []byte) (received, error) {
	var from [boot.SocketAddrMax]byte
	// The pointers are to memory of the given lengths.
	iov := unix.Iovec{Base: unsafe.SliceData(data)}
	iov.SetLen(len(data))
	msg := unix.Msghdr{Name: &from[0], Namelen: uint32(len(from)), Iov: &iov, Iovlen: 1, Control: unsafe.SliceData(control)}
	msg.SetControllen(len(control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if errno != 0 {
		return received{}, errno
	}
	return received{int(n), min(int(msg.Controllen), len(control)), from[:min(int(msg.Namelen), len(from))]}, nil
}
