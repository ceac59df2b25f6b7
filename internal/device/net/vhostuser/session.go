// Package vhostuser gives a virtual machine's network card to another process
// (QEMU's docs/interop/vhost-user.rst): the front end, which runs the machine,
// keeps the card's registers and shares the guest's memory; the back end works
// on the queues in it. It stands on package virtqueue. A [Client] is a front
// end; in a back end a [Device] does the work, in practice package virtionet's,
// which is also the gateway's Link. With QEMU as the front end:
//
//	card, err := backend.New(1)
//	front, err := vhostuser.Listen(card)
//	qemu.ExtraFiles = []*os.File{front.File()} // its descriptor 3
//	err = qemu.Start()
//	err = gw.Serve(ctx, card)                  // returns when QEMU is gone
//	err = front.Close()                        // also where QEMU did not start
//
// and QEMU's arguments, for PCI; on microvm the device is virtio-net-device
// without the options of PCI, and needs -global virtio-mmio.force-legacy=false:
//
//	-object memory-backend-memfd,id=mem,size=64M,share=on -machine q35,memory-backend=mem
//	-chardev socket,id=net,path=/proc/self/fd/3 -netdev vhost-user,id=net,chardev=net
//	-device virtio-net-pci,netdev=net,disable-legacy=on,romfile=,ctrl_guest_offloads=off
//
// With n pairs of queues, n above one: queues=n for -netdev, mq=on and on PCI
// vectors=2n+2 for the device.
//
// QEMU 7.2 ends by a segmentation fault when a driver uses MSI-X for a vhost-user
// network card and KVM does not run the guest: it takes the vector to KVM, which
// is not there. With vectors=0 the driver has a pin instead, if it can use one;
// else link.NewFrames does, without offload. virtio-mmio has no such error.
//
// Neither the front end nor the driver is trusted: a message that is wrong ends
// the connection. The protocol's parts for migration and for postponed faults
// are not offered.
package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"

	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// maxSize is the largest queue: QEMU's limit.
const maxSize = 1024

// Device is a network card's part that works on queues. All calls but Kick come
// from one goroutine.
type Backend interface {
	// Features are the bits that the driver may accept, with VERSION_1.
	Features() uint64
	// Queues is the number of queues: two for each pair.
	Queues() int
	// Config is the configuration that the driver reads, or nil if the front end
	// keeps it, as it does for a network card.
	Config() []byte
	// Start gives queue i to the device. It calls notify, which does not
	// block, when the driver wants to be notified.
	Start(i int, q *virtqueue.Queue, features uint64, notify func())
	// Stop takes queue i back. No use of it outlasts Stop.
	Stop(i int)
	// Enable turns queue i, started or not, on or off.
	Enable(i int, on bool)
	// Notify tells the back end that the driver notified queue i. It does not block.
	Notify(i int)
	// End says that the front end is gone: in good order, or because of err.
	End(err error)
}

// backend is one connection. Its goroutine alone uses it.
type session struct {
	conn     *net.UnixConn
	dev      Backend
	features uint64 // accepted
	protocol uint64 // accepted
	mem      *memory
	rings    []vring
}

// vring is one queue as the front end describes it.
type vring struct {
	size    int // 0: not yet known
	addr    ringAddr
	hasAddr bool
	next    uint16
	kick    *event.Event
	call    atomic.Pointer[event.Event] // the device signals it
	queue   *virtqueue.Queue            // nil: stopped
}

// ringAddr is where the front end has a queue.
type ringAddr struct{ desc, device, driver uint64 }

func newSession(conn *net.UnixConn, dev Backend) *session {
	return &session{conn: conn, dev: dev, rings: make([]vring, dev.Queues())}
}

// serve answers messages until one end hangs up, for which it returns nil. In the end the device has no queues, and all is closed.
func (b *session) serve() error {
	defer b.close()
	r := reader{conn: b.conn}
	for {
		m, err := r.next()
		if err == nil {
			err = b.answer(&m)
			m.close()
			if err != nil {
				err = fmt.Errorf("%v: %w", m.request, err)
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE), errors.Is(err, net.ErrClosed):
			return nil
		default:
			return fmt.Errorf("vhost-user: %w", err)
		}
	}
}

func (b *session) close() {
	for i := range b.rings {
		b.stop(i)
		b.rings[i].kick.Close()
		b.rings[i].call.Swap(nil).Close()
	}
	b.mem.unmap()
	_ = b.conn.Close()
}

// answer does what m says.
func (b *session) answer(m *message) error {
	switch m.request {
	case getFeatures:
		return b.replyNumber(m, b.dev.Features()|featureProtocol)
	case getProtocolFeatures:
		return b.replyNumber(m, b.protocolFeatures())
	case getConfig:
		return b.config(m)
	case getQueueNum: // of pairs, as the device is a network card
		return b.replyNumber(m, uint64(b.dev.Queues()/2))
	case getVringBase:
		i, _, err := b.ringState(m)
		if err != nil {
			return err
		}
		b.stop(i)
		r := &b.rings[i]
		r.kick.Close()
		r.kick = nil
		return reply(b.conn, m.request, le.AppendUint32(le.AppendUint32(nil, uint32(i)), uint32(r.next)))
	}
	if err := b.set(m); err != nil {
		return err
	}
	if m.flags&flagNeedReply != 0 && b.protocol&protocolReplyAck != 0 {
		return b.replyNumber(m, 0)
	}
	return nil
}

func (b *session) protocolFeatures() uint64 {
	f := uint64(protocolMQ | protocolReplyAck)
	if b.dev.Config() != nil {
		f |= protocolConfig
	}
	return f
}

// config answers with part of the configuration. The payload is an offset, a
// size and flags, each u32, and room for what is asked for.
func (b *session) config(m *message) error {
	const head = 12
	all := b.dev.Config()
	if all == nil || len(m.payload) < head {
		return fmt.Errorf("%d bytes", len(m.payload))
	}
	off, size := uint64(le.Uint32(m.payload)), uint64(le.Uint32(m.payload[4:]))
	if off+size > uint64(len(all)) || size != uint64(len(m.payload)-head) {
		return fmt.Errorf("bytes %d to %d of a configuration of %d", off, off+size, len(all))
	}
	return reply(b.conn, m.request, append(slices.Clone(m.payload[:head]), all[off:off+size]...))
}

func (b *session) replyNumber(m *message, n uint64) error {
	return reply(b.conn, m.request, le.AppendUint64(nil, n))
}

// set does what a message without an answer of its own says.
func (b *session) set(m *message) error {
	switch m.request {
	case setFeatures:
		return b.setFeatures(le.Uint64(m.payload))
	case setProtocolFeatures:
		b.protocol = le.Uint64(m.payload)
		if b.protocol&^b.protocolFeatures() != 0 {
			return fmt.Errorf("%#x were not offered", b.protocol)
		}
		return nil
	case setMemTable:
		return b.setMemory(m)
	case setVringNum:
		i, n, err := b.stoppedRing(m)
		if err != nil {
			return err
		}
		if n == 0 || n > maxSize {
			return fmt.Errorf("%d entries: at most %d are possible", n, maxSize)
		}
		b.rings[i].size = int(n)
		return nil
	case setVringBase:
		i, n, err := b.stoppedRing(m)
		if err != nil {
			return err
		}
		if n > 0xffff {
			return fmt.Errorf("base %d", n)
		}
		b.rings[i].next = uint16(n)
		return nil
	case setVringAddr:
		return b.setAddr(m)
	case setVringEnable:
		i, on, err := b.ringState(m)
		if err != nil {
			return err
		}
		if on > 1 {
			return fmt.Errorf("state %d", on)
		}
		b.dev.Enable(i, on == 1)
		return nil
	case setVringKick:
		return b.setKick(m)
	case setVringCall:
		return b.setCall(m)
	case setVringErr:
		_, _, err := b.ringFD(m) // errors end the connection, which says more
		return err
	default: // setOwner and resetOwner, which mean nothing to one connection
		return nil
	}
}

// setFeatures takes the features that the driver accepted. They stay while
// queues run.
func (b *session) setFeatures(f uint64) error {
	if f&^(b.dev.Features()|featureProtocol) != 0 {
		return fmt.Errorf("%#x were not offered", f)
	}
	if f == b.features {
		return nil
	}
	for i := range b.rings {
		if b.rings[i].queue != nil {
			return fmt.Errorf("%#x in place of %#x while queue %d runs", f, b.features, i)
		}
	}
	b.features = f
	return nil
}

// setMemory replaces the guest's memory. Queues that run go on in the new one.
func (b *session) setMemory(m *message) error {
	mem, err := mapMemory(m.payload, m.fds)
	if err != nil {
		return err
	}
	var running []int
	for i := range b.rings {
		if b.rings[i].queue != nil {
			running = append(running, i)
			b.stop(i)
		}
	}
	b.mem.unmap()
	b.mem = mem
	for _, i := range running {
		if err := b.start(i); err != nil {
			return err
		}
	}
	return nil
}

// ringState reads a payload of a queue's number and a number, both u32.
func (b *session) ringState(m *message) (i int, n uint32, err error) {
	index := le.Uint32(m.payload)
	if index >= uint32(len(b.rings)) {
		return 0, 0, fmt.Errorf("queue %d of %d", index, len(b.rings))
	}
	return int(index), le.Uint32(m.payload[4:]), nil
}

// stoppedRing is ringState for what must not change while a queue runs.
func (b *session) stoppedRing(m *message) (i int, n uint32, err error) {
	i, n, err = b.ringState(m)
	if err == nil && b.rings[i].queue != nil {
		err = fmt.Errorf("queue %d runs", i)
	}
	return i, n, err
}

// ringFD reads a payload of a queue's number and whether a descriptor comes
// with it; fd is the message's, or -1.
func (b *session) ringFD(m *message) (i, fd int, err error) {
	n := le.Uint64(m.payload)
	index := n & vringIndexMask
	switch {
	case n&^(vringIndexMask|vringNoFD) != 0 || index >= uint64(len(b.rings)):
		return 0, -1, fmt.Errorf("queue %#x of %d", n, len(b.rings))
	case (n&vringNoFD != 0) != (len(m.fds) == 0):
		return 0, -1, fmt.Errorf("queue %#x with %d descriptors", n, len(m.fds))
	case len(m.fds) == 0:
		return int(index), -1, nil
	}
	return int(index), m.fds[0], nil
}

// setAddr reads a queue's number and flags, both u32, and the addresses of the
// descriptor table, the used ring, the available ring and the log, each u64.
func (b *session) setAddr(m *message) error {
	i, flags, err := b.stoppedRing(m)
	if err != nil {
		return err
	}
	if flags != 0 {
		return fmt.Errorf("queue %d with flags %#x", i, flags)
	}
	r := &b.rings[i]
	r.addr = ringAddr{le.Uint64(m.payload[8:]), le.Uint64(m.payload[16:]), le.Uint64(m.payload[24:])}
	r.hasAddr = true
	return nil
}

// setKick starts a queue.
func (b *session) setKick(m *message) error {
	i, fd, err := b.ringFD(m)
	if err != nil {
		return err
	}
	if fd < 0 {
		return fmt.Errorf("queue %d without an event, to be polled", i)
	}
	kick, err := event.From(m.takeFD())
	if err != nil {
		return err
	}
	r := &b.rings[i]
	r.kick.Close()
	r.kick = kick
	go func() {
		for kick.Wait() {
			b.dev.Notify(i)
		}
	}()
	if r.queue != nil {
		b.dev.Notify(i) // the event before may have had one
		return nil
	}
	return b.start(i)
}

// setCall changes what the device signals. It signals the new event once: the
// one before may be closed just when it has something to say.
func (b *session) setCall(m *message) error {
	i, fd, err := b.ringFD(m)
	if err != nil {
		return err
	}
	var call *event.Event
	if fd >= 0 {
		if call, err = event.From(m.takeFD()); err != nil {
			return err
		}
	}
	b.rings[i].call.Swap(call).Close()
	call.Signal()
	return nil
}

// start gives queue i to the device.
func (b *session) start(i int) error {
	r := &b.rings[i]
	switch {
	case b.mem == nil || r.size == 0 || !r.hasAddr:
		return fmt.Errorf("queue %d starts before its memory, size and addresses are known", i)
	case b.features&featureVersion1 == 0:
		return fmt.Errorf("queue %d starts for a driver of before virtio 1.0 (VIRTIO_F_VERSION_1)", i)
	}
	l := virtqueue.Layout{Size: r.size}
	for _, part := range []struct {
		to   *uint64
		user uint64
	}{{&l.Desc, r.addr.desc}, {&l.Driver, r.addr.driver}, {&l.Device, r.addr.device}} {
		var ok bool
		if *part.to, ok = b.mem.guest(part.user); !ok {
			return fmt.Errorf("queue %d: %#x is not in the guest's memory", i, part.user)
		}
	}
	opts := virtqueue.Options{
		EventIndex: b.features&featureEventIdx != 0,
		Indirect:   b.features&featureIndirect != 0,
	}
	q, err := virtqueue.New(b.mem.Memory, l, opts, r.next)
	if err != nil {
		return fmt.Errorf("queue %d: %w", i, err)
	}
	r.queue = q
	if b.features&featureProtocol == 0 {
		b.dev.Enable(i, true) // there is no message for it
	}
	b.dev.Start(i, q, b.features, func() { r.call.Load().Signal() })
	return nil
}

// stop takes queue i from the device and notes where it goes on.
func (b *session) stop(i int) {
	r := &b.rings[i]
	if r.queue != nil {
		b.dev.Stop(i)
		r.next = r.queue.Next()
		r.queue = nil
	}
}
