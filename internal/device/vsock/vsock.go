// Package vsock implements a virtio socket device (virtio 1.2 §5.10). It
// connects AF_VSOCK stream sockets of the guest with unix sockets of the host,
// with the same protocol as Firecracker.
//
// The host connects to the socket at PATH and writes "CONNECT PORT\n". Once the
// guest has accepted, the device answers "OK HOSTPORT\n". If the guest refuses,
// the device closes the connection. When the guest connects to port N of the
// host (CID 2), it reaches the socket at PATH_N. The device opens no path: it
// gets the listening socket from its creator, and a Broker in another process
// connects to sockets on its behalf.
//
// One goroutine does all work. It waits in ppoll(2), and no socket blocks it.
// Data go directly between guest memory and the sockets. Only data that a
// socket of the host does not take at once are kept, within the credit of the
// guest.
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

// Queues (§5.10.2). The names are from the driver's point of view. The device
// sends no events: the only event reports that the guest has migrated.
const (
	queueReceive  = 0
	queueTransmit = 1
	queueEvent    = 2

	queueSize = 128
)

// hostCID is the CID of the host. CIDs of guests are larger.
const hostCID = 2

// MaxConnections is the maximum number of connections of a guest, including
// those not yet established. Each can use a file descriptor. RLIMIT_NOFILE must
// not be lower than MaxConnections, or ppoll(2) fails.
const MaxConnections = 128

const (
	// maxRefusals is the maximum number of resets that wait for buffers of the
	// guest. While they wait, the device takes no more packets (§5.10.6.1.2).
	maxRefusals = 64
	// maxAsked is the maximum number of broker answers in flight. Some may be for
	// connections that are already gone.
	maxAsked = 2 * MaxConnections
)

// Device is a virtio socket device.
type Device struct {
	mem      *virtqueue.Memory
	cid      uint64
	config   [8]byte
	listener *os.File
	broker   *os.File
	fds      struct{ listener, broker int }

	asked      []*connection // connections that the broker has not answered yet, in order
	brokerGone bool
	running    *guest // nil while stopped
}

// guest is the state of a started device.
type guest struct {
	d      *Device
	rx, tx *device.Worker

	connections  []*connection
	byPorts      map[ports]*connection
	first        int    // index of the connection that is served first; it advances each turn
	port         uint32 // host port that was assigned last
	refusals     []header
	starved      bool // data or packets are pending, but the guest has no buffer
	acceptFailed bool // accept failed, for example for lack of a file descriptor

	polled               []unix.PollFd
	timeout              unix.Timespec // a field, because ppoll(2) modifies it
	accepting, answering bool          // the listener or the broker socket may be readable
	chain                virtqueue.Chain
	io                   vector
}

// New returns the device of the guest with address cid. The device accepts
// connections of listener, and asks broker for the connections of the guest. It
// closes neither file.
func New(mem *virtqueue.Memory, cid uint64, listener, broker *os.File) (*Device, error) {
	if cid <= hostCID || cid >= 1<<32-1 {
		return nil, fmt.Errorf("sockets: %d is not a valid CID for a guest", cid)
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

// SetConfig implements device.Device. The driver can write no field.
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

// Stop implements device.Device. It closes all connections.
func (d *Device) Stop() {
	d.running.tx.Stop()
	d.running.rx.Stop()
	d.running = nil
}

// run does the work of the device until it is stopped or the driver breaks the
// protocol.
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

// Indices in guest.polled.
const (
	polledTransmit = iota
	polledReceive
	polledListener
	polledBroker
	polledConnections
)

// retry is the interval at which accept is tried again after a failure, in
// nanoseconds.
const retry = 200e6

// wait waits for events. If more is set, it only polls. It reports false once
// the device is stopped.
func (g *guest) wait(more bool) (bool, error) {
	never := int32(-1) // poll(2) ignores the entry
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
	case g.acceptFailed:
		g.timeout = unix.Timespec{Nsec: retry}
		timeout = &g.timeout
	}
	if g.acceptFailed {
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
	g.accepting = p[polledListener].Revents != 0 || g.acceptFailed
	g.answering = p[polledBroker].Revents != 0
	g.acceptFailed, g.starved = false, false
	for i, c := range g.connections {
		c.ready = p[polledConnections+i].Revents
	}
	return true, nil
}

// work does all work that is possible now. It reports whether some is left.
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

// transmit takes packets from the guest.
func (g *guest) transmit() (more bool, err error) {
	defer g.tx.Flush()
	for range queueSize {
		if len(g.refusals) >= maxRefusals {
			return false, nil // deliver makes room for more
		}
		ok, err := g.tx.Pop(&g.chain)
		if err != nil || !ok {
			return false, err
		}
		if g.chain.OutLen < headerSize {
			return false, errors.New("the driver lies: a packet shorter than its header")
		}
		var b [headerSize]byte
		gather(b[:], g.chain.Out)
		h := parseHeader(&b)
		if uint64(h.len) > uint64(g.chain.OutLen-headerSize) {
			return false, errors.New("the driver lies: a packet shorter than its length field")
		}
		g.receive(&h)
		g.tx.Queue().Push(&g.chain, 0)
	}
	return true, nil
}

// receive handles a packet. Its data are in g.chain.
func (g *guest) receive(h *header) {
	if h.srcCID != g.d.cid {
		return // a reset to a foreign CID would reach nobody
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

// deliver sends pending packets and data to the guest while it has buffers.
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

// buffer takes a buffer of the guest for a packet. It reports false if none is
// available.
func (g *guest) buffer() (bool, error) {
	ok, err := g.rx.Pop(&g.chain)
	switch {
	case err != nil:
		return false, err
	case !ok:
		g.starved = true
		return false, nil
	case g.chain.InLen <= headerSize:
		return false, errors.New("the driver lies: a buffer too short for a packet")
	}
	return true, nil
}

// send sends a packet without data. It reports false if no buffer is available.
func (g *guest) send(h *header) (bool, error) {
	ok, err := g.buffer()
	if ok {
		g.push(h)
	}
	return ok, err
}

// push completes the packet in the buffer with its header. Its data are already
// there.
func (g *guest) push(h *header) {
	var b [headerSize]byte
	h.put(&b)
	scatter(g.chain.In, b[:])
	g.rx.Queue().Push(&g.chain, headerSize+int(h.len))
}
