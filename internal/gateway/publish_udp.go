package gateway

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/pith-os/pith/internal/netns"

	"golang.org/x/sys/unix"
)

// udpPort is a published UDP port. Each client has a flow, which returns the guest's
// answers to it. An answer is sent from the address that the client wrote to, even
// if the socket is bound to all addresses.
type udpPort struct {
	g     *Gateway
	conn  *net.UDPConn
	guest uint16 // port
}

func (g *Gateway) listenUDP(network, hostAddr string, guestPort uint16) (*udpPort, error) {
	addr, err := net.ResolveUDPAddr(network, hostAddr)
	if err != nil {
		return nil, err
	}
	conn, err := netns.Make(g.cfg.Namespace, func() (*net.UDPConn, error) {
		return net.ListenUDP(network, addr)
	})
	if err != nil {
		return nil, err
	}
	if err := receiveDestination(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &udpPort{g: g, conn: conn, guest: guestPort}, nil
}

func (p *udpPort) Close() error { return p.conn.Close() }

// serve forwards the datagrams of clients to the guest until the port is closed.
func (p *udpPort) serve() {
	buf := make([]byte, payloadSize)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo))
	for {
		n, oobn, _, client, err := p.conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for one of the clients
		}
		src, guest := p.g.clientAddr(client)
		k := flowKey{udpProtocol, netip.AddrPortFrom(guest, p.guest), src}
		f := p.g.flows.get(k)
		if f == nil || f.socket != nil {
			source := sourceMessage(oob[:oobn])
			f = &flow{key: k, out: func(b []byte) error {
				_, _, err := p.conn.WriteMsgUDPAddrPort(b, source, client)
				return err
			}}
			if p.g.flows.add(f) != nil {
				continue // without a guest nobody listens
			}
		}
		f.deliver(buf[:n])
	}
}

// receiveDestination makes conn report the destination address of each datagram
// (IP_PKTINFO in ip(7), IPV6_RECVPKTINFO in ipv6(7)).
func receiveDestination(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, opt := unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	if conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		level, opt = unix.IPPROTO_IP, unix.IP_PKTINFO
	}
	var opterr error
	err = raw.Control(func(fd uintptr) { opterr = unix.SetsockoptInt(int(fd), level, opt, 1) })
	return errors.Join(err, opterr)
}

// sourceMessage returns the control message for an answer to a datagram that came
// with the control messages oob: the answer's source is the datagram's destination.
// It names an interface only for a link-local address. Otherwise the host's routes
// choose one.
func sourceMessage(oob []byte) []byte {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			// struct in_pktinfo: ifindex, spec_dst, addr.
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[4:8])})
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			// struct in6_pktinfo: addr, ifindex.
			info := unix.Inet6Pktinfo{Addr: [16]byte(m.Data)}
			if netip.AddrFrom16(info.Addr).IsLinkLocalUnicast() {
				info.Ifindex = binary.NativeEndian.Uint32(m.Data[16:])
			}
			return unix.PktInfo6(&info)
		}
	}
	return nil
}
