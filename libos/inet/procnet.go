package inet

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/proc"
	"github.com/pith-os/pith/libos/sys/call"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// The tables of /proc/net (proc_pid_net(5)), in the formats of Linux's net/ipv4
// and net/ipv6.
func init() {
	for _, t := range []struct {
		name, head             string
		domain, typ, protoOnly int
	}{
		{"tcp", tcpHead4, linux.AF_INET, linux.SOCK_STREAM, 0},
		{"tcp6", tcpHead6, linux.AF_INET6, linux.SOCK_STREAM, 0},
		{"udp", udpHead4, linux.AF_INET, linux.SOCK_DGRAM, linux.IPPROTO_UDP},
		{"udp6", udpHead6, linux.AF_INET6, linux.SOCK_DGRAM, linux.IPPROTO_UDP},
		{"raw", udpHead4, linux.AF_INET, linux.SOCK_RAW, 0},
	} {
		proc.Register("net/"+t.name, func() []byte { return socketTable(t.head, t.domain, t.typ, t.protoOnly) })
	}
	proc.Register("net/dev", deviceTable)
	proc.Register("net/route", routeTable)
	proc.Register("net/if_inet6", address6Table)
	proc.Register("net/pnp", resolverTable)
	if !platform.Config().Sockets.Whole() {
		return
	}
	for _, name := range boot.SocketTables {
		if name == boot.SocketPorts {
			continue
		}
		proc.Register("net/"+name, func() []byte { return hostTable(name) })
	}
	proc.Register("sys/net/ipv4/ip_local_port_range", func() []byte { return hostTable(boot.SocketPorts) })
}

// hostTable returns a table of the host's network namespace.
func hostTable(name string) []byte {
	b := monitor()
	if b == nil {
		return nil
	}
	file, errno := b.ask(&boot.SocketRequest{Op: boot.SocketTable, Peer: []byte(name)})
	if errno != 0 {
		return nil
	}
	defer file.Close()
	var table []byte
	for buf := make([]byte, 64<<10); ; {
		n, errno := file.Read(buf)
		if errno != 0 || n == 0 {
			return table
		}
		table = append(table, buf[:n]...)
	}
}

const (
	tcpHead4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n"
	tcpHead6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	udpHead4 = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n"
	udpHead6 = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n"
)

// tableEntry is a socket that appears in a table of /proc/net.
type tableEntry interface {
	file.File
	Type() int
	Protocol() int
	Ino() uint64
	// tableState returns the socket's addresses and its TCP_* state.
	tableState() (domain int, local, peer tcpip.FullAddress, state int)
}

// tableState implements tableEntry.
func (s *stream) tableState() (int, tcpip.FullAddress, tcpip.FullAddress, int) {
	local, peer := s.addresses()
	return s.domain, local, peer, linuxState(s.state())
}

// tableState implements tableEntry. As in Linux, a connected datagram socket is
// established, and any other is closed.
func (s *datagram) tableState() (int, tcpip.FullAddress, tcpip.FullAddress, int) {
	local, peer := s.addresses()
	state := linux.TCP_CLOSE
	if peer.Port != 0 {
		state = linux.TCP_ESTABLISHED
	}
	return s.domain, local, peer, state
}

// addresses returns the addresses of the endpoint. A missing address is zero.
func (s *base) addresses() (local, peer tcpip.FullAddress) {
	if a, err := s.ep.GetLocalAddress(); err == nil {
		local = a
	}
	if a, err := s.ep.GetRemoteAddress(); err == nil {
		peer = a
	}
	return local, peer
}

// socketTable lists the open sockets of a kind. It lists a socket with several
// descriptors once.
func socketTable(head string, domain, typ, proto int) []byte {
	var b bytes.Buffer
	b.WriteString(head)
	seen := make(map[uint64]bool)
	call.Files.Each(func(_ int, f file.File) {
		s, ok := f.(tableEntry)
		if !ok || s.Type() != typ || proto != 0 && s.Protocol() != proto || seen[s.Ino()] {
			return
		}
		d, local, peer, state := s.tableState()
		if d != domain || typ != linux.SOCK_STREAM && local.Port == 0 || state == linux.TCP_CLOSE && typ == linux.SOCK_STREAM {
			return
		}
		fmt.Fprintf(&b, "%4d: %s:%04X %s:%04X %02X %08X:%08X %02X:%08X %08X %5d %8d %d 1 0000000000000000",
			len(seen), hexAddress(domain, local.Addr), local.Port, hexAddress(domain, peer.Addr), peer.Port,
			state, 0, 0, 0, 0, 0, 0, 0, s.Ino())
		if typ == linux.SOCK_STREAM {
			b.WriteString(" 100 0 0 10 0\n")
		} else {
			b.WriteString(" 0\n")
		}
		seen[s.Ino()] = true
	})
	return b.Bytes()
}

// hexAddress formats an address as 32-bit words in host byte order.
func hexAddress(domain int, a tcpip.Address) string {
	size := header.IPv4AddressSize
	if domain == linux.AF_INET6 {
		size = header.IPv6AddressSize
		if a.Len() == header.IPv4AddressSize {
			a = mapped(a)
		}
	}
	raw := make([]byte, size)
	copy(raw, a.AsSlice())
	s := ""
	for i := 0; i < size; i += 4 {
		s += fmt.Sprintf("%08X", binary.LittleEndian.Uint32(raw[i:]))
	}
	return s
}

// deviceTable returns /proc/net/dev.
func deviceTable() []byte {
	var b bytes.Buffer
	b.WriteString("Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")
	ids, info := nics()
	for _, id := range ids {
		nic := info[id]
		rx, tx := &nic.Stats.Rx, &nic.Stats.Tx
		fmt.Fprintf(&b, "%6s: %7d %7d %4d %4d %4d %5d %10d %9d %8d %7d %4d %4d %4d %5d %7d %10d\n",
			nic.Name, rx.Bytes.Value(), rx.Packets.Value(), 0, 0, 0, 0, 0, 0,
			tx.Bytes.Value(), tx.Packets.Value(), 0, nic.Stats.TxPacketsDroppedNoBufferSpace.Value(), 0, 0, 0, 0)
	}
	return b.Bytes()
}

// Flags of /proc/net/route (include/uapi/linux/route.h).
const (
	rtfUp      = 1
	rtfGateway = 2
)

// routeTable returns /proc/net/route, in lines of 127 characters.
func routeTable() []byte {
	var b bytes.Buffer
	line := func(s string) { fmt.Fprintf(&b, "%-127s\n", s) }
	line("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")
	for _, r := range network().GetRouteTable() {
		dst := r.Destination.ID()
		if dst.Len() != header.IPv4AddressSize || r.NIC == loopbackNIC {
			continue
		}
		flags := rtfUp
		if r.Gateway.Len() != 0 {
			flags |= rtfGateway
		}
		mask := r.Destination.Mask()
		line(fmt.Sprintf("%s\t%s\t%s\t%04X\t0\t0\t0\t%08X\t0\t0\t0", network().FindNICNameFromID(r.NIC),
			hexAddress(linux.AF_INET, dst), hexAddress(linux.AF_INET, r.Gateway), flags,
			binary.LittleEndian.Uint32(mask.AsSlice())))
	}
	return b.Bytes()
}

// address6Table returns /proc/net/if_inet6. Its scopes are those of RFC 4007
// times 16 (include/net/ipv6.h).
func address6Table() []byte {
	var b bytes.Buffer
	ids, info := nics()
	for _, id := range ids {
		for _, a := range info[id].ProtocolAddresses {
			if a.Protocol != header.IPv6ProtocolNumber {
				continue
			}
			scope6 := map[uint8]int{linux.RT_SCOPE_HOST: 0x10, linux.RT_SCOPE_LINK: 0x20}[scope(a.AddressWithPrefix.Address)]
			fmt.Fprintf(&b, "%x %02x %02x %02x %02x %8s\n", a.AddressWithPrefix.Address.As16(), id,
				a.AddressWithPrefix.PrefixLen, scope6, linux.IFA_F_PERMANENT, info[id].Name)
		}
	}
	return b.Bytes()
}
