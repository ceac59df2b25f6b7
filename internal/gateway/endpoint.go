package gateway

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	ethernetSize = header.EthernetMinimumSize
	// copyBreak is the largest packet in bytes that is copied to a buffer of its
	// own size. A larger packet keeps the buffer that it was read into.
	copyBreak = 8 << 10
	// payloadSize is the size of the largest IP packet.
	payloadSize = 65535
)

// endpoint is the stack's link endpoint. It moves Ethernet frames over a link.Link,
// with large segments and partial checksums in both directions. The link is memory
// and does not corrupt packets, so the stack does not verify received checksums. A
// hostile guest that sends wrong data only harms itself.
type endpoint struct {
	// link is the current one. If it is nil, packets are lost.
	link atomic.Pointer[link.Link]
	// accept reports whether the stack may have a received packet.
	accept func(proto tcpip.NetworkProtocolNumber, packet []byte) bool

	addr      tcpip.LinkAddress
	mtu       atomic.Uint32
	noOffload atomic.Bool

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher

	sending sync.Mutex
	out     []link.Packet
	headers [][boot.VirtioNetHeaderSize]byte
}

func newEndpoint(addr tcpip.LinkAddress, mtu uint32) *endpoint {
	e := &endpoint{addr: addr, accept: func(tcpip.NetworkProtocolNumber, []byte) bool { return true }}
	e.mtu.Store(mtu)
	return e
}

// receive delivers packets from the link until the link fails or ends.
func (e *endpoint) receive(l link.Link) error {
	var (
		heads [link.Batch][boot.VirtioNetHeaderSize + ethernetSize]byte
		views [link.Batch]*buffer.View
		pkts  = make([]link.Packet, link.Batch)
		sizes = make([]int, link.Batch)
	)
	fresh := func(i int) {
		views[i] = buffer.NewViewSize(payloadSize)
		pkts[i][1] = views[i].AsSlice()
	}
	for i := range pkts {
		pkts[i] = link.Packet{heads[i][:], nil}
		fresh(i)
	}
	defer func() {
		for _, v := range views {
			v.Release()
		}
	}()
	for {
		n, err := l.ReadPackets(pkts, sizes)
		if err != nil {
			return err
		}
		for i := range n {
			size := sizes[i] - len(heads[i])
			if size <= 0 {
				continue
			}
			head := heads[i][:]
			packet := pkts[i][1][:size]
			proto, typ, ok := e.parse(head)
			if !ok || !e.accept(proto, packet) {
				continue
			}
			view := views[i]
			if size <= copyBreak {
				view = buffer.NewViewWithData(packet)
			} else {
				view.CapLength(size)
				fresh(i)
			}
			e.deliver(proto, typ, view)
		}
	}
}

// parse reads the headers of a received frame. It reports false if the frame is not
// for this interface, or uses an offload that was not offered.
func (e *endpoint) parse(head []byte) (proto tcpip.NetworkProtocolNumber, typ tcpip.PacketType, ok bool) {
	switch boot.ParseVnetHeader(head).GSOType &^ boot.VnetGSOECN {
	case boot.VnetGSONone, boot.VnetGSOTCPv4, boot.VnetGSOTCPv6:
	default:
		return 0, 0, false
	}
	eth := header.Ethernet(head[boot.VirtioNetHeaderSize:])
	switch dst := eth[:header.EthernetAddressSize]; {
	case string(dst) == string(e.addr):
		typ = tcpip.PacketHost
	case string(dst) == string(header.EthernetBroadcastAddress):
		typ = tcpip.PacketBroadcast
	case dst[0]&1 != 0:
		typ = tcpip.PacketMulticast
	default:
		return 0, 0, false
	}
	return eth.Type(), typ, true
}

// deliver gives a received packet to the stack.
func (e *endpoint) deliver(proto tcpip.NetworkProtocolNumber, typ tcpip.PacketType, view *buffer.View) {
	e.mu.RLock()
	d := e.dispatcher
	e.mu.RUnlock()
	if d == nil {
		view.Release()
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	pkt.NetworkProtocolNumber = proto
	pkt.PktType = typ
	d.DeliverNetworkPacket(proto, pkt)
	pkt.DecRef()
}

// WritePackets implements stack.LinkWriter. The queueing discipline in front of it
// collects the packets of several connections into batches.
func (e *endpoint) WritePackets(list stack.PacketBufferList) (int, tcpip.Error) {
	l := e.link.Load()
	if l == nil {
		return 0, &tcpip.ErrClosedForSend{}
	}
	e.sending.Lock()
	defer e.sending.Unlock()
	pkts := list.AsSlice()
	for len(e.out) < len(pkts) {
		e.out = append(e.out, nil)
		e.headers = append(e.headers, [boot.VirtioNetHeaderSize]byte{})
	}
	n := 0
	for _, pkt := range pkts {
		if pkt.Size() > boot.MaxFrame-boot.VirtioNetHeaderSize {
			continue // the stack makes no such packet
		}
		h := &e.headers[n]
		offload := e.offload(pkt)
		offload.Put(h[:])
		out := append(e.out[n][:0], h[:])
		views, skip := pkt.AsViewList()
		for v := views.Front(); v != nil; v = v.Next() {
			b := v.AsSlice()
			if skip >= len(b) {
				skip -= len(b)
				continue
			}
			out = append(out, b[skip:])
			skip = 0
		}
		e.out[n] = out
		n++
	}
	err := (*l).WritePackets(e.out[:n])
	for i := range e.out[:n] {
		clear(e.out[i])
	}
	if err != nil {
		return 0, &tcpip.ErrClosedForSend{} // receive gets the same error and reports it
	}
	return len(pkts), nil
}

// offload returns the virtio-net header of an outgoing packet. The stack leaves the
// checksum of a large segment partial and computes all others.
func (e *endpoint) offload(pkt *stack.PacketBuffer) boot.VnetHeader {
	h := boot.VnetHeader{NumBuffers: 1}
	if e.noOffload.Load() {
		return h
	}
	gso := pkt.GSOOptions
	if gso.Type == stack.GSONone || !gso.NeedsCsum {
		h.Flags = boot.VnetDataValid
		return h
	}
	h.Flags = boot.VnetNeedsCsum
	h.CsumStart = ethernetSize + gso.L3HdrLen
	h.CsumOffset = gso.CsumOffset
	if pkt.Data().Size() <= int(gso.MSS) {
		return h
	}
	h.GSOType = boot.VnetGSOTCPv4
	if gso.Type == stack.GSOTCPv6 {
		h.GSOType = boot.VnetGSOTCPv6
	}
	h.HdrLen = h.CsumStart + uint16(len(pkt.TransportHeader().Slice()))
	h.GSOSize = gso.MSS
	return h
}

// Attach implements stack.LinkEndpoint.
func (e *endpoint) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	e.dispatcher = d
	e.mu.Unlock()
}

// IsAttached implements stack.LinkEndpoint.
func (e *endpoint) IsAttached() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.dispatcher != nil
}

// AddHeader implements stack.LinkEndpoint.
func (e *endpoint) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(ethernetSize)).Encode(&header.EthernetFields{
		SrcAddr: pkt.EgressRoute.LocalLinkAddress,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.LinkEndpoint.
func (e *endpoint) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(ethernetSize)
	return ok
}

// Capabilities implements stack.LinkEndpoint.
func (e *endpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload | stack.CapabilityResolutionRequired
}

// SupportedGSO implements stack.GSOEndpoint.
func (e *endpoint) SupportedGSO() stack.SupportedGSO {
	if e.noOffload.Load() {
		return stack.GSONotSupported
	}
	return stack.HostGSOSupported
}

// GSOMaxSize implements stack.GSOEndpoint.
func (e *endpoint) GSOMaxSize() uint32 { return payloadSize }

// MTU implements stack.LinkEndpoint.
func (e *endpoint) MTU() uint32 { return e.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (e *endpoint) SetMTU(mtu uint32) { e.mtu.Store(mtu) }

// MaxHeaderLength implements stack.LinkEndpoint.
func (e *endpoint) MaxHeaderLength() uint16 { return ethernetSize }

// LinkAddress implements stack.LinkEndpoint.
func (e *endpoint) LinkAddress() tcpip.LinkAddress { return e.addr }

// SetLinkAddress implements stack.LinkEndpoint. The address is fixed.
func (e *endpoint) SetLinkAddress(tcpip.LinkAddress) {}

// ARPHardwareType implements stack.LinkEndpoint.
func (e *endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Wait implements stack.LinkEndpoint. The goroutines belong to Serve.
func (e *endpoint) Wait() {}

// Close implements stack.LinkEndpoint. The link belongs to Serve.
func (e *endpoint) Close() {}

// SetOnCloseAction implements stack.LinkEndpoint.
func (e *endpoint) SetOnCloseAction(func()) {}
