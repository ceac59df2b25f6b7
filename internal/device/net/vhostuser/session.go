// Package vhostuser splits a virtual machine's network card between two processes
// (QEMU's docs/interop/vhost-user.rst). The front end is the process that runs
// the VM: it has the card's registers and shares the guest's memory. The back end
// works on the queues in that memory. A [Client] is a front end. A [Server] is
// the side of the back end and calls a [Backend], in practice a backend.Link,
// which is also the link.Link of the network.
//
// With QEMU as the front end:
//
//	card, err := backend.New(1)
//	server, err := vhostuser.Listen(card)
//	qemu.ExtraFiles = []*os.File{server.File()} // its descriptor 3
//	err = qemu.Start()
//	err = network.Serve(ctx, card)              // returns when QEMU has ended
//	err = server.Close()                        // needed even if QEMU did not start
//
// QEMU's arguments are, for PCI:
//
//	-object memory-backend-memfd,id=mem,size=64M,share=on -machine q35,memory-backend=mem
//	-chardev socket,id=net,path=/proc/self/fd/3 -netdev vhost-user,id=net,chardev=net
//	-device virtio-net-pci,netdev=net,disable-legacy=on,romfile=,ctrl_guest_offloads=off
//
// On microvm the device is virtio-net-device without the options of PCI, and QEMU
// needs -global virtio-mmio.force-legacy=false. With n pairs of queues, n above
// one, -netdev needs queues=n and the device mq=on, on PCI also vectors=2n+2.
//
// QEMU 7.2 ends by a segmentation fault if a driver uses MSI-X for a vhost-user
// network card and KVM does not run the guest: it passes the vector to KVM, which
// is not there. With vectors=0 the driver uses an interrupt pin, if it can. For
// other drivers use link.NewFrames, which has no offload. virtio-mmio does not
// have this error.
//
// Neither the front end nor the driver is trusted: a wrong message ends the
// connection. The back end does not offer the features for migration and for
// postcopy page faults.
package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// maxSize is the largest number of entries of a queue, which is QEMU's limit.
const maxSize = 1024

// Backend works on the queues of a device. One goroutine makes all calls except
// Notify.
type Backend interface {
	// Features returns the bits that the driver may accept. VERSION_1 is one of
	// them.
	Features() uint64
	// Queues returns the number of queues, two for each pair.
	Queues() int
	// Config returns the configuration that the driver reads. It is nil if the
	// front end has the configuration, as it does for a network card.
	Config() []byte
	// Start gives queue i to the back end, with the features that the driver
	// accepted. The back end calls interrupt, which does not block, when the
	// driver wants an interrupt.
	Start(i int, q *virtqueue.Queue, features uint64, interrupt func())
	// Stop takes queue i back. The back end does not use it after Stop.
	Stop(i int)
	// Enable turns queue i on or off, whether it is started or not.
	Enable(i int, on bool)
	// Notify reports that the driver notified queue i. It does not block.
	Notify(i int)
	// End reports that the front end is gone, because of err if that is not nil.
	End(err error)
}

// session is the back end's side of one connection. One goroutine uses it.
type session struct {
	conn     *net.UnixConn
	backend  Backend
	features uint64 // accepted
	protocol uint64 // accepted
	mem      *memory
	rings    []vring
}

// vring is one queue as the front end has described it.
type vring struct {
	size    int // entries; 0: not yet known
	addr    ringAddr
	hasAddr bool
	next    uint16
	kick    *event.Event
	call    atomic.Pointer[event.Event] // the back end signals it
	queue   *virtqueue.Queue            // nil: stopped
}

// ringAddr is the place of a queue, in addresses of the front end.
type ringAddr struct{ desc, device, driver uint64 }

func newSession(conn *net.UnixConn, b Backend) *session {
	return &session{conn: conn, backend: b, rings: make([]vring, b.Queues())}
}

// serve answers messages until one side hangs up, which is no error. Then it takes
// all queues from the back end and closes the connection.
func (s *session) serve() error {
	defer s.close()
	r := reader{conn: s.conn}
	for {
		m, err := r.next()
		if err == nil {
			err = s.answer(&m)
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

func (s *session) close() {
	for i := range s.rings {
		s.stop(i)
		s.rings[i].kick.Close()
		s.rings[i].call.Swap(nil).Close()
	}
	s.mem.unmap()
	_ = s.conn.Close()
}

// answer handles m and sends the reply, if m has one.
func (s *session) answer(m *message) error {
	switch m.request {
	case getFeatures:
		return s.replyNumber(m, s.backend.Features()|featureProtocol)
	case getProtocolFeatures:
		return s.replyNumber(m, s.protocolFeatures())
	case getConfig:
		return s.config(m)
	case getQueueNum: // pairs, for a network card
		return s.replyNumber(m, uint64(s.backend.Queues()/2))
	case getVringBase:
		i, _, err := s.ringState(m)
		if err != nil {
			return err
		}
		s.stop(i)
		r := &s.rings[i]
		r.kick.Close()
		r.kick = nil
		return reply(s.conn, m.request, le.AppendUint32(le.AppendUint32(nil, uint32(i)), uint32(r.next)))
	}
	if err := s.set(m); err != nil {
		return err
	}
	if m.flags&flagNeedReply != 0 && s.protocol&protocolReplyAck != 0 {
		return s.replyNumber(m, 0)
	}
	return nil
}

func (s *session) protocolFeatures() uint64 {
	f := uint64(protocolMQ | protocolReplyAck)
	if s.backend.Config() != nil {
		f |= protocolConfig
	}
	return f
}

// config replies with part of the configuration. The payload is an offset, a size
// and flags, each u32, and then room for the part.
func (s *session) config(m *message) error {
	const head = 12
	all := s.backend.Config()
	if all == nil || len(m.payload) < head {
		return fmt.Errorf("%d bytes", len(m.payload))
	}
	off, size := uint64(le.Uint32(m.payload)), uint64(le.Uint32(m.payload[4:]))
	if off+size > uint64(len(all)) || size != uint64(len(m.payload)-head) {
		return fmt.Errorf("bytes %d to %d of a configuration of %d", off, off+size, len(all))
	}
	return reply(s.conn, m.request, append(slices.Clone(m.payload[:head]), all[off:off+size]...))
}

func (s *session) replyNumber(m *message, n uint64) error {
	return reply(s.conn, m.request, le.AppendUint64(nil, n))
}

// set handles a message that has no reply of its own.
func (s *session) set(m *message) error {
	switch m.request {
	case setFeatures:
		return s.setFeatures(le.Uint64(m.payload))
	case setProtocolFeatures:
		s.protocol = le.Uint64(m.payload)
		if s.protocol&^s.protocolFeatures() != 0 {
			return fmt.Errorf("%#x were not offered", s.protocol)
		}
		return nil
	case setMemTable:
		return s.setMemory(m)
	case setVringNum:
		i, n, err := s.stoppedRing(m)
		if err != nil {
			return err
		}
		if n == 0 || n > maxSize {
			return fmt.Errorf("%d entries: at most %d are possible", n, maxSize)
		}
		s.rings[i].size = int(n)
		return nil
	case setVringBase:
		i, n, err := s.stoppedRing(m)
		if err != nil {
			return err
		}
		if n > 0xffff {
			return fmt.Errorf("base %d", n)
		}
		s.rings[i].next = uint16(n)
		return nil
	case setVringAddr:
		return s.setAddr(m)
	case setVringEnable:
		i, on, err := s.ringState(m)
		if err != nil {
			return err
		}
		if on > 1 {
			return fmt.Errorf("state %d", on)
		}
		s.backend.Enable(i, on == 1)
		return nil
	case setVringKick:
		return s.setKick(m)
	case setVringCall:
		return s.setCall(m)
	case setVringErr:
		_, _, err := s.ringFD(m) // unused: an error ends the connection, and its message says more
		return err
	default: // setOwner and resetOwner mean nothing for a single connection
		return nil
	}
}

// setFeatures sets the features that the driver accepted. They cannot change while
// a queue runs.
func (s *session) setFeatures(f uint64) error {
	if f&^(s.backend.Features()|featureProtocol) != 0 {
		return fmt.Errorf("%#x were not offered", f)
	}
	if f == s.features {
		return nil
	}
	for i := range s.rings {
		if s.rings[i].queue != nil {
			return fmt.Errorf("%#x in place of %#x while queue %d runs", f, s.features, i)
		}
	}
	s.features = f
	return nil
}

// setMemory replaces the guest's memory. Running queues continue in the new memory.
func (s *session) setMemory(m *message) error {
	mem, err := mapMemory(m.payload, m.fds)
	if err != nil {
		return err
	}
	var running []int
	for i := range s.rings {
		if s.rings[i].queue != nil {
			running = append(running, i)
			s.stop(i)
		}
	}
	s.mem.unmap()
	s.mem = mem
	for _, i := range running {
		if err := s.start(i); err != nil {
			return err
		}
	}
	return nil
}

// ringState reads a payload of a queue's index and a number, both u32.
func (s *session) ringState(m *message) (i int, n uint32, err error) {
	index := le.Uint32(m.payload)
	if index >= uint32(len(s.rings)) {
		return 0, 0, fmt.Errorf("queue %d of %d", index, len(s.rings))
	}
	return int(index), le.Uint32(m.payload[4:]), nil
}

// stoppedRing is ringState for a property that cannot change while a queue runs.
func (s *session) stoppedRing(m *message) (i int, n uint32, err error) {
	i, n, err = s.ringState(m)
	if err == nil && s.rings[i].queue != nil {
		err = fmt.Errorf("queue %d runs", i)
	}
	return i, n, err
}

// ringFD reads a payload of a queue's index and a flag that no descriptor comes
// with the message. fd is the descriptor, or -1. It stays the message's.
func (s *session) ringFD(m *message) (i, fd int, err error) {
	n := le.Uint64(m.payload)
	index := n & vringIndexMask
	switch {
	case n&^(vringIndexMask|vringNoFD) != 0 || index >= uint64(len(s.rings)):
		return 0, -1, fmt.Errorf("queue %#x of %d", n, len(s.rings))
	case (n&vringNoFD != 0) != (len(m.fds) == 0):
		return 0, -1, fmt.Errorf("queue %#x with %d descriptors", n, len(m.fds))
	case len(m.fds) == 0:
		return int(index), -1, nil
	}
	return int(index), m.fds[0], nil
}

// setAddr reads a queue's index and flags, both u32, and the addresses of the
// descriptor table, the used ring, the available ring and the log, each u64.
func (s *session) setAddr(m *message) error {
	i, flags, err := s.stoppedRing(m)
	if err != nil {
		return err
	}
	if flags != 0 {
		return fmt.Errorf("queue %d with flags %#x", i, flags)
	}
	r := &s.rings[i]
	r.addr = ringAddr{le.Uint64(m.payload[8:]), le.Uint64(m.payload[16:]), le.Uint64(m.payload[24:])}
	r.hasAddr = true
	return nil
}

// setKick sets the eventfd of the driver's notifications and starts the queue.
func (s *session) setKick(m *message) error {
	i, fd, err := s.ringFD(m)
	if err != nil {
		return err
	}
	if fd < 0 {
		return fmt.Errorf("queue %d has no eventfd: the back end does not poll", i)
	}
	kick, err := event.From(m.takeFD())
	if err != nil {
		return err
	}
	r := &s.rings[i]
	r.kick.Close()
	r.kick = kick
	go func() {
		for kick.Wait() {
			s.backend.Notify(i)
		}
	}()
	if r.queue != nil {
		s.backend.Notify(i) // the old eventfd may have held a notification
		return nil
	}
	return s.start(i)
}

// setCall sets the eventfd of the driver's interrupts. It signals the new eventfd
// once, because an interrupt on the old one may be lost when it is closed.
func (s *session) setCall(m *message) error {
	i, fd, err := s.ringFD(m)
	if err != nil {
		return err
	}
	var call *event.Event
	if fd >= 0 {
		if call, err = event.From(m.takeFD()); err != nil {
			return err
		}
	}
	s.rings[i].call.Swap(call).Close()
	call.Signal()
	return nil
}

// start gives queue i to the back end.
func (s *session) start(i int) error {
	r := &s.rings[i]
	switch {
	case s.mem == nil || r.size == 0 || !r.hasAddr:
		return fmt.Errorf("queue %d starts before its memory, size and addresses are known", i)
	case s.features&device.FeatureVersion1 == 0:
		return fmt.Errorf("queue %d starts for a driver that is older than virtio 1.0 (it did not accept VIRTIO_F_VERSION_1)", i)
	}
	l := virtqueue.Layout{Size: r.size}
	for _, part := range []struct {
		to   *uint64
		user uint64
	}{{&l.Desc, r.addr.desc}, {&l.Driver, r.addr.driver}, {&l.Device, r.addr.device}} {
		var ok bool
		if *part.to, ok = s.mem.guest(part.user); !ok {
			return fmt.Errorf("queue %d: %#x is not in the guest's memory", i, part.user)
		}
	}
	opts := virtqueue.Options{
		EventIndex: s.features&device.FeatureEventIdx != 0,
		Indirect:   s.features&device.FeatureIndirect != 0,
	}
	q, err := virtqueue.New(s.mem.Memory, l, opts, r.next)
	if err != nil {
		return fmt.Errorf("queue %d: %w", i, err)
	}
	r.queue = q
	if s.features&featureProtocol == 0 {
		s.backend.Enable(i, true) // without protocol features no message enables it
	}
	s.backend.Start(i, q, s.features, func() { r.call.Load().Signal() })
	return nil
}

// stop takes queue i from the back end and records where it continues.
func (s *session) stop(i int) {
	r := &s.rings[i]
	if r.queue != nil {
		s.backend.Stop(i)
		r.next = r.queue.Next()
		r.queue = nil
	}
}
