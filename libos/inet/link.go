package inet

import (
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Fields of struct virtio_net_hdr, little endian (virtio 1.2 §5.1.6).
const (
	vnetFlags      = 0 // u8
	vnetGSOType    = 1 // u8
	vnetHdrLen     = 2 // u16: of the headers before the payload
	vnetGSOSize    = 4 // u16: payload of each segment
	vnetCsumStart  = 6 // u16: from the beginning of the frame
	vnetCsumOffset = 8 // u16: from vnetCsumStart

	vnetNeedsCsum = 1 // of flags: the checksum is to be completed
	vnetDataValid = 2 // of flags: the checksum has been checked

	vnetGSOTCPv4 = 1
	vnetGSOTCPv6 = 4
)

const (
	// gsoMaxSize is the largest IP packet that the stack hands to the link.
	// The gateway, or who is behind it, cuts it into segments.
	gsoMaxSize = 65536 - header.EthernetMinimumSize
	// maxBacklog is the number of packets that wait for the gateway; those
	// beyond are dropped, as by Linux with txqueuelen 1000.
	maxBacklog = 1000
)

// link is the network device: Ethernet frames to and from the gateway, one a
// message, with the offloads of virtio-net.
type link struct {
	host *platform.Host
	mtu  uint32
	addr tcpip.LinkAddress

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher

	out struct {
		sync.Mutex
		frame   [boot.MaxFrame]byte
		backlog stack.PacketBufferList // what the gateway did not take yet
		waiting bool                   // a goroutine waits until it does
	}
}

// newLink makes the device over host, which carries messages of at most
// boot.MaxFrame bytes.
func newLink(host *platform.Host, cfg *boot.Net) *link {
	addr, err := tcpip.ParseMACAddress(cfg.MAC)
	if err != nil {
		addr = tcpip.GetRandMacAddr()
	}
	return &link{host: host, mtu: uint32(cfg.MTU), addr: addr}
}

// Attach implements stack.LinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	first := l.dispatcher == nil && d != nil
	l.dispatcher = d
	l.mu.Unlock()
	if first {
		go l.receive()
	}
}

// receive passes frames to the stack until the device is closed. It takes all
// there are before it waits.
func (l *link) receive() {
	buf := make([]byte, boot.MaxFrame)
	for {
		n, errno := l.host.Read(buf)
		switch {
		case errno == linux.EAGAIN:
			if l.host.Wait(platform.Readable) != 0 {
				return
			}
		case errno != 0 || n == 0:
			return // the gateway is gone
		case n >= boot.VirtioNetHeaderSize+header.EthernetMinimumSize:
			l.deliver(buf[:n])
		}
	}
}

// deliver passes one message to the stack.
func (l *link) deliver(msg []byte) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	if d == nil {
		return
	}
	frame := msg[boot.VirtioNetHeaderSize:]
	if msg[vnetFlags]&(vnetNeedsCsum|vnetDataValid) == 0 && !checksumRight(frame) {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer pkt.DecRef()
	if !l.ParseHeader(pkt) {
		return
	}
	d.DeliverNetworkPacket(pkt.NetworkProtocolNumber, pkt)
}

// checksumRight verifies the TCP or UDP checksum of a frame that the other
// side has not. The stack leaves that to the link for all frames or for none.
// Fragments and packets with extension headers pass: their checksums, where
// they have one, are out of reach here.
func checksumRight(frame []byte) bool {
	var proto tcpip.TransportProtocolNumber
	var src, dst tcpip.Address
	var payload []byte
	packet := frame[header.EthernetMinimumSize:]
	switch header.Ethernet(frame).Type() {
	case header.IPv4ProtocolNumber:
		ip := header.IPv4(packet)
		if !ip.IsValid(len(packet)) || ip.More() || ip.FragmentOffset() != 0 {
			return true // the stack looks at it
		}
		proto, src, dst, payload = ip.TransportProtocol(), ip.SourceAddress(), ip.DestinationAddress(), ip.Payload()
	case header.IPv6ProtocolNumber:
		ip := header.IPv6(packet)
		if !ip.IsValid(len(packet)) {
			return true
		}
		proto, src, dst, payload = tcpip.TransportProtocolNumber(ip.NextHeader()), ip.SourceAddress(), ip.DestinationAddress(), ip.Payload()
	default:
		return true
	}
	switch {
	case proto == header.TCPProtocolNumber && len(payload) >= header.TCPMinimumSize:
	case proto == header.UDPProtocolNumber && len(payload) >= header.UDPMinimumSize:
		if header.UDP(payload).Checksum() == 0 { // none (RFC 768)
			return true
		}
	default:
		return true
	}
	return checksum.Checksum(payload, header.PseudoHeaderChecksum(proto, src, dst, uint16(len(payload)))) == 0xffff
}

// WritePacket implements stack.QueueingDiscipline. It never waits: what the
// gateway does not take now is sent, in order, as soon as it does.
func (l *link) WritePacket(pkt *stack.PacketBuffer) tcpip.Error {
	l.out.Lock()
	defer l.out.Unlock()
	if l.out.backlog.Len() == 0 {
		switch l.send(pkt) {
		case 0:
			return nil
		case linux.EAGAIN:
		default:
			return &tcpip.ErrNoBufferSpace{}
		}
	}
	if l.out.backlog.Len() >= maxBacklog {
		return &tcpip.ErrNoBufferSpace{}
	}
	l.out.backlog.PushBack(pkt.IncRef())
	if !l.out.waiting {
		l.out.waiting = true
		go l.drain()
	}
	return nil
}

// WritePackets implements stack.LinkWriter.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range pkts.AsSlice() {
		if err := l.WritePacket(pkt); err != nil {
			return i, err
		}
	}
	return pkts.Len(), nil
}

// drain sends the backlog as the gateway takes it.
func (l *link) drain() {
	l.out.Lock()
	defer l.out.Unlock()
	for l.out.backlog.Len() > 0 {
		if l.send(l.out.backlog.AsSlice()[0]) == linux.EAGAIN {
			l.out.Unlock()
			errno := l.host.Wait(platform.Writable)
			l.out.Lock()
			if errno == 0 {
				continue
			}
		}
		l.out.backlog.PopFront().DecRef()
	}
	l.out.waiting = false
}

// send writes one packet, with l.out held. The host takes one buffer, so that
// the packet is copied together here.
func (l *link) send(pkt *stack.PacketBuffer) linux.Errno {
	frame := l.out.frame[:]
	vnetHeader(frame, pkt)
	n := boot.VirtioNetHeaderSize
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		b, skip = b[skip:], 0
		if len(b) > len(frame)-n {
			return linux.EMSGSIZE
		}
		n += copy(frame[n:], b)
	}
	_, errno := l.host.Write(frame[:n])
	return errno
}

// vnetHeader writes the virtio-net header of an outgoing packet. TCP leaves its
// checksum to the other side in every packet that has GSO options.
func vnetHeader(h []byte, pkt *stack.PacketBuffer) {
	clear(h[:boot.VirtioNetHeaderSize])
	gso := &pkt.GSOOptions
	if gso.Type == stack.GSONone {
		return
	}
	if gso.NeedsCsum {
		h[vnetFlags] = vnetNeedsCsum
		put16(h[vnetCsumStart:], header.EthernetMinimumSize+gso.L3HdrLen)
		put16(h[vnetCsumOffset:], gso.CsumOffset)
	}
	if pkt.Data().Size() <= int(gso.MSS) {
		return
	}
	h[vnetGSOType] = vnetGSOTCPv4
	if gso.Type == stack.GSOTCPv6 {
		h[vnetGSOType] = vnetGSOTCPv6
	}
	put16(h[vnetHdrLen:], uint16(pkt.HeaderSize()))
	put16(h[vnetGSOSize:], gso.MSS)
}

func put16(b []byte, v uint16) { b[0], b[1] = byte(v), byte(v>>8) }

// AddHeader implements stack.NetworkLinkEndpoint.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.NetworkLinkEndpoint.
func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	hdr, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	if !ok {
		return false
	}
	eth := header.Ethernet(hdr)
	pkt.NetworkProtocolNumber = eth.Type()
	dst := eth.DestinationAddress()
	return dst == l.addr || dst[0]&1 == 1 // groups, and broadcast among them
}

// GSOMaxSize implements stack.GSOEndpoint.
func (l *link) GSOMaxSize() uint32 { return gsoMaxSize }

// SupportedGSO implements stack.GSOEndpoint.
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// Capabilities implements stack.NetworkLinkEndpoint. Checksum offload for what
// is sent comes with GSO, for TCP; declared here it would make the stack send
// UDP without.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

// MTU implements stack.NetworkLinkEndpoint.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU implements stack.NetworkLinkEndpoint; the monitor has set it.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength implements stack.NetworkLinkEndpoint.
func (l *link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements stack.NetworkLinkEndpoint.
func (l *link) LinkAddress() tcpip.LinkAddress { return l.addr }

// SetLinkAddress implements stack.NetworkLinkEndpoint; the monitor has set it.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// IsAttached implements stack.NetworkLinkEndpoint.
func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// Wait implements stack.NetworkLinkEndpoint.
func (l *link) Wait() {}

// ARPHardwareType implements stack.NetworkLinkEndpoint.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Close implements stack.NetworkLinkEndpoint and stack.QueueingDiscipline.
func (l *link) Close() { l.host.Close() }

// SetOnCloseAction implements stack.NetworkLinkEndpoint.
func (l *link) SetOnCloseAction(func()) {}
