// Package vsock is a virtio socket device (virtio 1.2 §5.10): it connects
// streams of the guest's AF_VSOCK sockets with unix sockets of the host, as
// Firecracker's does.
//
// The host connects to the socket at PATH, writes "CONNECT PORT\n" and reads
// "OK HOSTPORT\n" once the guest has accepted; the connection is closed if it
// does not. A guest that connects to port N of the host (CID 2) reaches the
// socket at PATH_N. The device opens no path: it is given the listening socket,
// and has a Broker in another process make the connections of the guest.
//
// One goroutine does everything, and waits in ppoll(2); no socket holds it up.
// Bytes go straight between the guest's memory and the sockets, but for what a
// socket of the host does not take at once: that is kept, up to the credit
// which the guest was given.
package vsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// featureStream is VIRTIO_VSOCK_F_STREAM (§5.10.3).
const featureStream = 1 << 0

// Queues (§5.10.2), named for the driver. Nothing comes by the one for events:
// the one there is says that the guest has moved.
const (
	queueReceive  = 0
	queueTransmit = 1
	queueEvent    = 2

	queueSize = 128
)

// hostCID is the host's address, and the least that a guest may have is behind
// it.
const hostCID = 2

// MaxConnections is how many there are of one guest, those included that are
// being made. Each may take a descriptor: ppoll(2) fails where RLIMIT_NOFILE is
// less than that.
const MaxConnections = 128

const (
	// maxRefusals is how many refused packets wait for the guest's buffers
	// before no more are looked at (§5.10.6.1.2).
	maxRefusals = 64
	// maxAsked is how many answers the broker may owe, also to connections
	// that are gone.
	maxAsked = 2 * MaxConnections
)

// Device is a device.Device.
type Device struct {
	mem      *virtqueue.Memory
	cid      uint64
	config   [8]byte
	listener *os.File
	broker   *os.File
	fds      struct{ listener, broker int }

	asked      []*connection // of the broker, in this order
	brokerGone bool
	running    *guest // nil: stopped
}

// guest is what a started device has.
type guest struct {
	d      *Device
	rx, tx *device.Worker

	connections []*connection
	byPorts     map[ports]*connection
	first       int    // of connections, which goes on with next
	port        uint32 // of the host's, given last
	refusals    []header
	starved     bool // there is something to send, and no buffer of the guest's
	deaf        bool // no descriptor is left for another connection

	polled               []unix.PollFd
	timeout              unix.Timespec // which ppoll(2) changes
	accepting, answering bool          // are worth a try
	chain                virtqueue.Chain
	io                   vector
}

// New is the device of the guest with address cid. It accepts connections of
// listener, and asks broker for those of the guest; it closes neither.
func New(mem *virtqueue.Memory, cid uint64, listener, broker *os.File) (*Device, error) {
	if cid <= hostCID || cid >= 1<<32-1 {
		return nil, fmt.Errorf("sockets: %d cannot be the CID of a guest", cid)
	}
	d := &Device{mem: mem, cid: cid, listener: listener, broker: broker}
	binary.LittleEndian.PutUint64(d.config[:], cid)
	d.fds.listener, d.fds.broker = int(listener.Fd()), int(broker.Fd())
	if err := unix.SetNonblock(d.fds.listener, true); err != nil {
		return nil, fmt.Errorf("sockets: %w", os.NewSyscallError("fcntl", err))
	}
	return d, nil
}

// ID implements device.Device.
func (d *Device) ID() uint32 { return device.IDSocket }

// Features implements device.Device.
func (d *Device) Features() uint64 { return device.FeaturesOfQueues | featureStream }

// Queues implements device.Device.
func (d *Device) Queues() []int {
	return []int{queueReceive: queueSize, queueTransmit: queueSize, queueEvent: queueSize}
}

// Config implements device.Device.
func (d *Device) Config() []byte { return d.config[:] }

// SetConfig implements device.Device: nothing is the driver's to write.
func (d *Device) SetConfig(int, []byte) {}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	if queues[queueReceive].Size == 0 || queues[queueTransmit].Size == 0 {
		return errors.New("sockets: the driver has not set up the queues")
	}
	rx, err := device.NewWorker(d.mem, queues[queueReceive], features)
	if err != nil {
		return fmt.Errorf("sockets: receive queue: %w", err)
	}
	tx, err := device.NewWorker(d.mem, queues[queueTransmit], features)
	if err != nil {
		return fmt.Errorf("sockets: transmit queue: %w", err)
	}
	g := &guest{d: d, rx: rx, tx: tx, byPorts: map[ports]*connection{}, port: firstPort, refusals: make([]header, 0, maxRefusals)}
	d.running = g
	tx.Go(bus, g.run)
	return nil
}

// Stop implements device.Device. The connections end.
func (d *Device) Stop() {
	d.running.tx.Stop()
	d.running.rx.Stop()
	d.running = nil
}

// run does the device's work until it is stopped or the driver lies.
func (g *guest) run() error {
	defer g.closeAll()
	for {
		g.tx.Queue().DisableNotify()
		g.rx.Queue().DisableNotify()
		more, err := g.work()
		if err != nil {
			return err
		}
		if len(g.refusals) < maxRefusals && g.tx.Queue().EnableNotify() {
			more = true
		}
		if g.starved && g.rx.Queue().EnableNotify() {
			more = true
		}
		if ok, err := g.wait(more); err != nil || !ok {
			return err
		}
	}
}

// Places in guest.polled.
const (
	polledTransmit = iota
	polledReceive
	polledListener
	polledBroker
	polledConnections
)

// retry is when to look again whether there is a descriptor for a connection, in
// nanoseconds.
const retry = 200e6

// wait waits until there is something to do, and with more only looks. It
// reports false once the device is stopped.
func (g *guest) wait(more bool) (bool, error) {
	never := int32(-1) // poll(2) leaves it out
	p := append(g.polled[:0],
		unix.PollFd{Fd: int32(g.tx.KickFD()), Events: unix.POLLIN},
		unix.PollFd{Fd: int32(g.rx.KickFD()), Events: unix.POLLIN},
		unix.PollFd{Fd: int32(g.d.fds.listener), Events: unix.POLLIN},
		unix.PollFd{Fd: int32(g.d.fds.broker), Events: unix.POLLIN})
	var timeout *unix.Timespec
	switch {
	case more:
		g.timeout = unix.Timespec{}
		timeout = &g.timeout
	case g.deaf:
		g.timeout = unix.Timespec{Nsec: retry}
		timeout = &g.timeout
	}
	if g.deaf {
		p[polledListener].Fd = never
	}
	if g.d.brokerGone {
		p[polledBroker].Fd = never
	}
	for _, c := range g.connections {
		fd, events := never, c.events(g.starved)
		if events != 0 {
			fd = int32(c.fd)
		}
		p = append(p, unix.PollFd{Fd: fd, Events: events})
	}
	g.polled = p
	switch _, err := unix.Ppoll(p, timeout, nil); {
	case errors.Is(err, unix.EINTR):
		for i := range p {
			p[i].Revents = 0
		}
	case err != nil:
		return false, os.NewSyscallError("ppoll", err)
	}
	if p[polledTransmit].Revents != 0 && !g.tx.Wait() {
		return false, nil
	}
	if p[polledReceive].Revents != 0 {
		g.rx.Wait()
	}
	g.accepting = p[polledListener].Revents != 0 || g.deaf
	g.answering = p[polledBroker].Revents != 0
	g.deaf, g.starved = false, false
	for i, c := range g.connections {
		c.ready = p[polledConnections+i].Revents
	}
	return true, nil
}

// work does what can be done now. It reports whether it left something.
func (g *guest) work() (more bool, err error) {
	if more, err = g.transmit(); err != nil {
		return false, err
	}
	if g.answering {
		g.answers()
	}
	if g.accepting {
		g.accept()
	}
	g.answering, g.accepting = false, false
	for _, c := range g.connections {
		g.serve(c)
	}
	if err := g.deliver(); err != nil {
		return false, err
	}
	g.forget()
	return more, nil
}

// transmit takes what the guest sends.
func (g *guest) transmit() (more bool, err error) {
	defer g.tx.Flush()
	for range queueSize {
		if len(g.refusals) >= maxRefusals {
			return false, nil // deliver says when it goes on
		}
		ok, err := g.tx.Pop(&g.chain)
		if err != nil || !ok {
			return false, err
		}
		if g.chain.OutLen < headerSize {
			return false, errors.New("the driver lies: a packet that is shorter than its header")
		}
		var b [headerSize]byte
		gather(b[:], g.chain.Out)
		h := parseHeader(&b)
		if uint64(h.len) > uint64(g.chain.OutLen-headerSize) {
			return false, errors.New("the driver lies: a packet that is shorter than it says")
		}
		g.receive(&h)
		g.tx.Queue().Push(&g.chain, 0)
	}
	return true, nil
}

// receive takes a packet, whose data are in g.chain.
func (g *guest) receive(h *header) {
	if h.srcCID != g.d.cid {
		return // it is nobody's whom an answer would reach
	}
	c := g.byPorts[ports{h.dstPort, h.srcPort}]
	switch {
	case h.dstCID != hostCID || h.typ != typeStream:
		g.refuse(h)
	case c != nil:
		g.receiveFor(c, h)
	case h.op == opRequest:
		g.request(h)
	default:
		g.refuse(h)
	}
}

func (g *guest) refuse(h *header) {
	if h.op != opReset {
		g.refusals = append(g.refusals, h.refusal())
	}
}

// deliver sends the guest what there is for it, as far as it has buffers.
func (g *guest) deliver() error {
	defer g.rx.Flush()
	sent := 0
	for sent < len(g.refusals) {
		ok, err := g.send(&g.refusals[sent])
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		sent++
	}
	g.refusals = g.refusals[:copy(g.refusals, g.refusals[sent:])]
	n := len(g.connections)
	for i := range n {
		if err := g.deliverFor(g.connections[(g.first+i)%n]); err != nil {
			return err
		}
	}
	if n > 0 {
		g.first = (g.first + 1) % n
	}
	return nil
}

// buffer takes a buffer of the guest's for a packet. It reports false if there
// is none.
func (g *guest) buffer() (bool, error) {
	ok, err := g.rx.Pop(&g.chain)
	switch {
	case err != nil:
		return false, err
	case !ok:
		g.starved = true
		return false, nil
	case g.chain.InLen <= headerSize:
		return false, errors.New("the driver lies: a buffer that is too short for a packet")
	}
	return true, nil
}

// send sends a packet without data. It reports false if there is no buffer.
func (g *guest) send(h *header) (bool, error) {
	ok, err := g.buffer()
	if ok {
		g.push(h)
	}
	return ok, err
}

// push gives the guest the packet whose data are in the buffer.
func (g *guest) push(h *header) {
	var b [headerSize]byte
	h.put(&b)
	scatter(g.chain.In, b[:])
	g.rx.Queue().Push(&g.chain, headerSize+int(h.len))
}
