package hostinet

import (
	"encoding/binary"
	"errors"
	"net"
	"os"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// netlink is boot.SocketOpen of an AF_NETLINK socket. It passes one end of a pair, and
// relays between the other and a socket of NETLINK_ROUTE (rtnetlink(7)): from the image
// queries, to the image everything. Peer is the struct sockaddr_nl to bind to, whose port
// is 0. The first message to the image is the bound socket's.
func (s *Server) netlink(r *boot.SocketRequest) (int, error) {
	if r.Protocol != unix.NETLINK_ROUTE {
		return -1, unix.EPROTONOSUPPORT
	}
	if len(r.Peer) < unix.SizeofSockaddrNetlink {
		return -1, unix.EINVAL
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	host := os.NewFile(uintptr(fd), "netlink")
	groups := binary.NativeEndian.Uint32(r.Peer[8:])
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return -1, errors.Join(err, host.Close())
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, errors.Join(err, host.Close())
	}
	image, err := s.pair(Target{Serve: func(peer net.Conn, _ int) {
		relayNetlink(peer, host, name.(*unix.SockaddrNetlink).Pid, s.cfg.Log)
	}}, unix.SOCK_DGRAM)
	if err != nil {
		return -1, errors.Join(err, host.Close())
	}
	return image, nil
}

// maxNetlink is more than the longest query of the library OS.
const maxNetlink = 64 << 10

// relayNetlink relays until the image closes its end.
func relayNetlink(peer net.Conn, host *os.File, port uint32, log func(string, ...any)) {
	defer peer.Close()
	if _, err := peer.Write(binary.NativeEndian.AppendUint32(nil, port)); err != nil {
		host.Close()
		return
	}
	go func() {
		defer host.Close()
		b := make([]byte, maxNetlink)
		for {
			n, err := peer.Read(b)
			if err != nil || n == 0 {
				return
			}
			if !isQuery(b[:n]) {
				log("host sockets: a netlink message that is no query is dropped")
				continue
			}
			if _, err := host.Write(b[:n]); err != nil {
				log("host sockets: netlink: %v", err)
			}
		}
	}()
	for {
		var b []byte
		err := transfer(host.SyscallConn, true, func(fd uintptr) (err error) {
			b, err = nextMessage(int(fd))
			return err
		})
		if errors.Is(err, unix.ENOBUFS) {
			continue // the kernel has dropped reports of changes, as it does for any program
		}
		if err != nil {
			return
		}
		if _, err := peer.Write(b); err != nil {
			return
		}
	}
}

// nextMessage reads one datagram. The kernel fills the buffers of a dump as far as the
// longest buffer that a program has read with. So this one is not longer than needed: the
// image's program may have a short one.
func nextMessage(fd int) ([]byte, error) {
	n, _, err := unix.Recvfrom(fd, nil, unix.MSG_PEEK|unix.MSG_TRUNC)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	n, _, err = unix.Recvfrom(fd, b, 0)
	return b[:max(n, 0)], err
}

// isQuery reports whether all messages of a datagram ask for something: their types are
// RTM_GET*, which need no capability.
func isQuery(b []byte) bool {
	for len(b) >= unix.NLMSG_HDRLEN {
		size, typ := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
		if size < unix.NLMSG_HDRLEN || size > len(b) || typ < unix.RTM_BASE || typ&3 != unix.RTM_GETLINK&3 {
			return false
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return len(b) == 0
}
