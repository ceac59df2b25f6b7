package inet

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// gsoMaxSize is the largest IP packet in bytes that the stack passes to the
	// link. The device, or the network behind it, segments it.
	gsoMaxSize = 65536 - header.EthernetMinimumSize
	// maxBacklog is the number of packets that may wait for room in a queue.
	// Further packets are dropped, as by Linux with txqueuelen 1000.
	maxBacklog = 1000
)

// device carries the frames of a link, with the offloads of virtio-net.
type device interface {
	// Queues returns the number of queues in each direction. Frames keep their
	// order within a queue.
	Queues() int
	// Up reports whether the device is connected to a network.
	Up() bool
	// Send sends a frame, given in pieces, by queue q. It returns EAGAIN when the
	// queue has no room now. Any other error means that the frame is lost. Only
	// one goroutine at a time may send by a queue.
	Send(q int, h boot.VnetHeader, frame [][]byte) linux.Errno
	// ShouldNotify reports whether the device needs a Notify for the frames sent
	// by queue q since the last call. Only the goroutine that may send by q calls
	// it; any goroutine may call Notify. They are separate because a notification
	// may cost more than a frame, and one can serve many frames.
	ShouldNotify(q int) bool
	Notify(q int)
	// WaitSend parks until queue q has room again. It returns an error when that
	// will never happen. Only the goroutine that may send by q calls it.
	WaitSend(q int) linux.Errno
	// Receive calls deliver for each frame that arrives by queue q, until the
	// device ends. deliver gets the frame in pieces, which are valid until it
	// returns.
	Receive(q int, deliver func(h boot.VnetHeader, frame [][]byte))
	// Close ends the device. Receive and WaitSend then return.
	Close()
}

// link is the stack's link endpoint: Ethernet frames to and from a device.
type link struct {
	dev  device
	addr tcpip.LinkAddress
	mtu  atomic.Uint32
	gso  bool // the device accepts large segments and partial checksums

	// When the device has ended, done is closed and then gone is called.
	done chan struct{}
	gone func()
	// intercept sees each frame before the stack does. It returns true to keep the
	// frame.
	intercept atomic.Pointer[func(frame []byte) bool]

	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher

	out []sendQueue
}

// sendQueue is the link's state for one queue of the device.
type sendQueue struct {
	sync.Mutex
	frame   [][]byte               // pieces of the packet that is being sent
	backlog stack.PacketBufferList // packets for which the device had no room
	waiting bool                   // a goroutine sends the backlog
}

// newLink makes a link over dev, which has Ethernet address addr.
func newLink(dev device, addr tcpip.LinkAddress, mtu uint32, gso bool) *link {
	l := &link{dev: dev, addr: addr, gso: gso, done: make(chan struct{}), gone: func() {}, out: make([]sendQueue, dev.Queues())}
	l.mtu.Store(mtu)
	return l
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

// receive passes frames to the stack until the device ends.
func (l *link) receive() {
	var all sync.WaitGroup
	for q := 1; q < len(l.out); q++ {
		all.Add(1)
		go func() { // all.Go would run a function of package sync, which counts as the program's goroutine
			defer all.Done()
			l.dev.Receive(q, l.deliver)
		}()
	}
	l.dev.Receive(0, l.deliver)
	all.Wait()
	close(l.done)
	l.gone()
}

// deliver passes one frame to the stack. It copies the frame before it looks at
// it, because the device could still change the original.
func (l *link) deliver(h boot.VnetHeader, pieces [][]byte) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	size := 0
	for _, p := range pieces {
		size += len(p)
	}
	if d == nil || size < header.EthernetMinimumSize {
		return
	}
	view := buffer.NewViewSize(size)
	frame := view.AsSlice()
	for n := 0; len(pieces) > 0; pieces = pieces[1:] {
		n += copy(frame[n:], pieces[0])
	}
	intercept := l.intercept.Load()
	if h.Flags&(boot.VnetNeedsCsum|boot.VnetDataValid) == 0 && !checksumRight(frame) || intercept != nil && (*intercept)(frame) {
		view.Release()
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
	defer pkt.DecRef()
	if !l.ParseHeader(pkt) {
		return
	}
	d.DeliverNetworkPacket(pkt.NetworkProtocolNumber, pkt)
}

// checksumRight verifies the TCP or UDP checksum of a frame that the other side
// has not verified. The stack leaves this to the link, for all frames or for
// none. Fragments and packets with extension headers pass: the link cannot
// compute their checksums.
func checksumRight(frame []byte) bool {
	var proto tcpip.TransportProtocolNumber
	var src, dst tcpip.Address
	var payload []byte
	packet := frame[header.EthernetMinimumSize:]
	switch header.Ethernet(frame).Type() {
	case header.IPv4ProtocolNumber:
		ip := header.IPv4(packet)
		if !ip.IsValid(len(packet)) || ip.More() || ip.FragmentOffset() != 0 {
			return true // the stack decides
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
		if header.UDP(payload).Checksum() == 0 { // no checksum (RFC 768)
			return true
		}
	default:
		return true
	}
	return checksum.Checksum(payload, header.PseudoHeaderChecksum(proto, src, dst, uint16(len(payload)))) == 0xffff
}

// WritePacket implements stack.QueueingDiscipline. It never waits. Packets for
// which the device has no room are sent later, in order. All packets of a
// connection use the same queue.
func (l *link) WritePacket(pkt *stack.PacketBuffer) tcpip.Error {
	n := int(pkt.Hash % uint32(len(l.out)))
	q := &l.out[n]
	q.Lock()
	defer q.Unlock()
	if q.backlog.Len() == 0 {
		switch l.send(n, pkt) {
		case 0:
			if l.dev.ShouldNotify(n) {
				go l.notify(n)
			}
			return nil
		case linux.EAGAIN:
		default:
			return &tcpip.ErrNoBufferSpace{}
		}
	}
	if q.backlog.Len() >= maxBacklog {
		return &tcpip.ErrNoBufferSpace{}
	}
	q.backlog.PushBack(pkt.IncRef())
	if !q.waiting {
		q.waiting = true
		go l.drain(n)
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

// notify notifies the device of the frames sent by queue n. First it lets all
// other runnable goroutines run, so that they can send, too: a server that
// answers many clients notifies the device once. Nobody waits for notify, and
// it runs without the queue's lock.
func (l *link) notify(n int) {
	runtime.Gosched()
	l.dev.Notify(n)
}

// drain sends the backlog of queue n when the device has room. No other
// goroutine sends by the queue while there is a backlog.
func (l *link) drain(n int) {
	q := &l.out[n]
	q.Lock()
	defer q.Unlock()
	for q.backlog.Len() > 0 {
		if l.send(n, q.backlog.AsSlice()[0]) == linux.EAGAIN {
			notify := l.dev.ShouldNotify(n)
			q.Unlock()
			if notify {
				l.dev.Notify(n)
			}
			errno := l.dev.WaitSend(n)
			q.Lock()
			if errno == 0 {
				continue
			}
		}
		q.backlog.PopFront().DecRef()
	}
	if l.dev.ShouldNotify(n) {
		go l.notify(n)
	}
	q.waiting = false
}

// send sends one packet by queue n, with the queue's lock held.
func (l *link) send(n int, pkt *stack.PacketBuffer) linux.Errno {
	q := &l.out[n]
	q.frame = q.frame[:0]
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		q.frame = append(q.frame, b[skip:])
		skip = 0
	}
	errno := l.dev.Send(n, vnetHeader(pkt), q.frame)
	clear(q.frame)
	return errno
}

// vnetHeader returns the virtio-net header of an outgoing packet. TCP leaves
// the checksum to the other side in every packet that has GSO options.
func vnetHeader(pkt *stack.PacketBuffer) (h boot.VnetHeader) {
	gso := &pkt.GSOOptions
	if gso.Type == stack.GSONone {
		return h
	}
	if gso.NeedsCsum {
		h.Flags = boot.VnetNeedsCsum
		h.CsumStart = header.EthernetMinimumSize + gso.L3HdrLen
		h.CsumOffset = gso.CsumOffset
	}
	if pkt.Data().Size() <= int(gso.MSS) {
		return h
	}
	h.GSOType = boot.VnetGSOTCPv4
	if gso.Type == stack.GSOTCPv6 {
		h.GSOType = boot.VnetGSOTCPv6
	}
	h.HdrLen = uint16(pkt.HeaderSize())
	h.GSOSize = gso.MSS
	return h
}

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
	return l.forUs(eth.DestinationAddress())
}

// forUs reports whether to receive a frame sent to dst: our address, or any
// group address, which includes broadcast.
func (l *link) forUs(dst tcpip.LinkAddress) bool { return dst == l.addr || dst[0]&1 == 1 }

// GSOMaxSize implements stack.GSOEndpoint.
func (l *link) GSOMaxSize() uint32 { return gsoMaxSize }

// SupportedGSO implements stack.GSOEndpoint.
func (l *link) SupportedGSO() stack.SupportedGSO {
	if !l.gso {
		return stack.GSONotSupported
	}
	return stack.HostGSOSupported
}

// Capabilities implements stack.NetworkLinkEndpoint. Transmit checksum offload
// comes with GSO, for TCP. Declaring it here would make the stack send UDP
// without a checksum.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

// MTU implements stack.NetworkLinkEndpoint.
func (l *link) MTU() uint32 { return l.mtu.Load() }

// SetMTU implements stack.NetworkLinkEndpoint.
func (l *link) SetMTU(mtu uint32) { l.mtu.Store(mtu) }

// MaxHeaderLength implements stack.NetworkLinkEndpoint.
func (l *link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress implements stack.NetworkLinkEndpoint.
func (l *link) LinkAddress() tcpip.LinkAddress { return l.addr }

// SetLinkAddress implements stack.NetworkLinkEndpoint. The address is fixed.
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
func (l *link) Close() { l.dev.Close() }

// SetOnCloseAction implements stack.NetworkLinkEndpoint.
func (l *link) SetOnCloseAction(func()) {}
