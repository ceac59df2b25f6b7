package hostinet

import (
	"slices"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// table is boot.SocketTable. The thread is in the namespace.
func table(name string) (int, error) {
	if !slices.Contains(boot.SocketTables, name) {
		return -1, unix.ENOENT
	}
	path := map[string]string{
		boot.SocketResolver: "/etc/resolv.conf",
		boot.SocketHosts:    "/etc/hosts",
		boot.SocketPorts:    "/proc/sys/net/ipv4/ip_local_port_range",
	}[name]
	if path == "" {
		path = "/proc/thread-self/net/" + name
	}
	return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// interfaceRequests are the ioctls that read something of an interface.
var interfaceRequests = []uint32{unix.SIOCGIFNAME, unix.SIOCGIFFLAGS, unix.SIOCGIFADDR, unix.SIOCGIFBRDADDR, unix.SIOCGIFNETMASK,
	unix.SIOCGIFMETRIC, unix.SIOCGIFMTU, unix.SIOCGIFHWADDR, unix.SIOCGIFINDEX, unix.SIOCGIFTXQLEN}

// interfaceIoctl is boot.SocketInterface.
func interfaceIoctl(r *boot.SocketRequest, reply *boot.SocketReply) error {
	var ifreq [unix.IFNAMSIZ + 24]byte // struct ifreq
	if len(r.Options) != 1 || len(r.Options[0].Value) != len(ifreq) || !slices.Contains(interfaceRequests, r.Options[0].Name) {
		return unix.ENOTTY
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	copy(ifreq[:], r.Options[0].Value)
	// Each of the requests reads and writes one struct ifreq without pointers.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(r.Options[0].Name), uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return errno
	}
	reply.Value = ifreq[:]
	return nil
}

// getsockopt reads an option into a buffer of the given size.
func getsockopt(fd, level, name, size int) ([]byte, error) {
	buf := make([]byte, max(size, 1))
	n := uint32(size)
	// The kernel writes at most n bytes.
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&n)), 0); errno != 0 {
		return nil, errno
	}
	return buf[:min(int(n), size)], nil
}
