package vsock

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// ports identifies a connection: the port of the host and the port of the
// guest.
type ports struct{ host, guest uint32 }

// firstPort is the lowest host port of connections that the host opens.
const firstPort = 1 << 30

type state uint8

const (
	stateGreeting state = iota // the host has not yet sent the CONNECT line
	stateAsked                 // the broker has not yet answered
	stateOffered               // the guest has not yet accepted
	stateOpen
	stateEnded // a reset to the guest is pending; the socket is closed
	stateGone
)

// debt is a set of packets that the device must send to the guest, in this
// order.
type debt uint8

const (
	oweRequest debt = 1 << iota
	oweResponse
	oweCredit
	oweShutdown // after all data
	oweReset
)

// bufferSize is the receive buffer that the guest may fill, in bytes.
const bufferSize = 128 << 10

// batch is the maximum of data packets that a connection sends to the guest
// before the next connection has its turn.
const batch = 8

// connection is a connection, or an attempt to make one.
type connection struct {
	ports
	state state
	fd    int   // -1: no socket
	ready int16 // the events of the socket in the last poll
	line  []byte
	owes  debt

	kept     ring   // data of the guest that the socket of the host has not yet taken
	noMore   bool   // the host sends no more data, or the guest receives no more
	wasShut  uint32 // flags of the guest's opShutdown packets
	willShut uint32 // flags of the opShutdown packet to send

	// Credit (§5.10.6.3), modulo 1<<32.
	forwarded, advertised  uint32 // bytes written to the host's socket; the part of them that the guest was told
	sent                   uint32
	guestAlloc, guestTaken uint32 // buf_alloc and fwd_cnt of the guest
}

// credit returns the number of bytes that the guest can receive now.
func (c *connection) credit() uint32 {
	inFlight := c.sent - c.guestTaken
	if inFlight > c.guestAlloc {
		return 0
	}
	return c.guestAlloc - inFlight
}

// readable reports whether the device may read data of the host for the guest.
func (c *connection) readable() bool {
	return c.state == stateOpen && !c.noMore && c.owes == 0 && c.credit() > 0
}

// events returns the poll events for the socket. A socket with no events must
// not be polled at all, because poll always reports a hangup.
func (c *connection) events(starved bool) (events int16) {
	if c.state == stateGreeting || c.readable() && !starved {
		events |= unix.POLLIN
	}
	if c.kept.n > 0 {
		events |= unix.POLLOUT
	}
	return events
}

// add adds a connection. It reports false if there are too many.
func (g *guest) add(c *connection) bool {
	if len(g.connections) >= MaxConnections {
		return false
	}
	g.connections = append(g.connections, c)
	return true
}

// forget removes the connections that are gone.
func (g *guest) forget() {
	left := g.connections[:0]
	for _, c := range g.connections {
		if c.state != stateGone {
			left = append(left, c)
		}
	}
	clear(g.connections[len(left):])
	g.connections = left
}

func (g *guest) closeAll() {
	for _, c := range g.connections {
		g.remove(c)
	}
}

// remove ends a connection without a packet to the guest: either the guest does
// not know the connection, or it does not need to learn of its end.
func (g *guest) remove(c *connection) {
	c.close()
	c.state, c.owes = stateGone, 0
	if g.byPorts[c.ports] == c {
		delete(g.byPorts, c.ports)
	}
}

// reset ends a connection, and sends a reset to the guest.
func (g *guest) reset(c *connection) {
	c.close()
	c.state, c.owes = stateEnded, oweReset
}

func (c *connection) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd) // ignore the error: the data are already with the peer
	}
	c.fd, c.kept = -1, ring{}
}

// accept accepts connections of the host.
func (g *guest) accept() {
	for range MaxConnections {
		fd, _, err := unix.Accept4(g.d.fds.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			g.acceptFailed = true
			return
		}
		c := &connection{fd: fd, state: stateGreeting}
		if !g.add(c) {
			c.close()
		}
	}
}

// serve handles the events of the socket, except the arrival of data for the
// guest.
func (g *guest) serve(c *connection) {
	switch {
	case c.state == stateGreeting && c.ready != 0:
		g.greet(c)
	case c.state == stateOpen && c.kept.n > 0 && c.ready&^unix.POLLIN != 0:
		g.drain(c)
	}
}

const (
	greeting    = "CONNECT "
	maxGreeting = len(greeting) + len("4294967295") + len("\n")
)

// greet reads the CONNECT line of the host, and no byte behind it.
func (g *guest) greet(c *connection) {
	var b [maxGreeting]byte
	p := b[:maxGreeting-len(c.line)]
	n, err := g.io.receive(c.fd, unix.MSG_PEEK, [][]byte{p}, 0, len(p))
	if errors.Is(err, unix.EAGAIN) {
		return
	}
	if n > 0 {
		if i := bytes.IndexByte(p[:n], '\n'); i >= 0 {
			n = i + 1
		}
		n, err = g.io.receive(c.fd, 0, [][]byte{p}, 0, n)
	}
	if err != nil || n == 0 {
		g.remove(c)
		return
	}
	c.line = append(c.line, p[:n]...)
	line, done := bytes.CutSuffix(c.line, []byte("\n"))
	if !done {
		if len(line) == maxGreeting {
			g.remove(c)
		}
		return
	}
	number, ok := bytes.CutPrefix(line, []byte(greeting))
	port, err := strconv.ParseUint(string(number), 10, 32)
	if !ok || err != nil {
		g.remove(c)
		return
	}
	c.line = nil
	c.ports = g.freePorts(uint32(port))
	g.byPorts[c.ports] = c
	c.state, c.owes = stateOffered, oweRequest
}

// freePorts returns the identity of a new connection to the guest's port.
func (g *guest) freePorts(port uint32) ports {
	for {
		if g.port++; g.port >= 1<<31 {
			g.port = firstPort
		}
		p := ports{g.port, port}
		if g.byPorts[p] == nil {
			return p
		}
	}
}

// request handles an opRequest packet: the guest connects.
func (g *guest) request(h *header) {
	c := &connection{ports: ports{h.dstPort, h.srcPort}, fd: -1, state: stateAsked, guestAlloc: h.alloc, guestTaken: h.forwarded}
	if len(g.d.asked) >= maxAsked || g.d.brokerGone || !g.add(c) {
		g.refuse(h)
		return
	}
	g.byPorts[c.ports] = c
	question := []byte(fmt.Sprintf(connectMessage, c.host))
	if err := unix.Sendmsg(g.d.fds.broker, question, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil {
		g.reset(c)
		return
	}
	g.d.asked = append(g.d.asked, c)
}

// answers handles the answers of the broker.
func (g *guest) answers() {
	var text [maxMessage]byte
	var rights [64]byte
	for {
		n, control, _, _, err := unix.Recvmsg(g.d.fds.broker, text[:], rights[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || n == 0:
			g.d.brokerGone = true
			for _, c := range g.d.asked {
				g.connected(c, -1)
			}
			g.d.asked = nil
			return
		}
		c := &connection{state: stateGone} // an answer without a request is ignored
		if len(g.d.asked) > 0 {
			c = g.d.asked[0]
			g.d.asked = g.d.asked[1:]
		}
		g.connected(c, descriptor(rights[:control]))
	}
}

// connected handles the broker's answer to a connection request of the guest.
// fd is -1 if the broker refused.
func (g *guest) connected(c *connection, fd int) {
	switch {
	case c.state != stateAsked: // the guest has ended it meanwhile
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	case fd < 0:
		g.reset(c)
	default:
		c.fd, c.state, c.owes = fd, stateOpen, oweResponse
	}
}

// receiveFor handles a packet of a connection.
func (g *guest) receiveFor(c *connection, h *header) {
	c.guestAlloc, c.guestTaken = h.alloc, h.forwarded
	switch {
	case h.op == opReset:
		g.remove(c)
	case c.state == stateEnded:
	case h.op == opResponse && c.state == stateOffered && c.owes == 0:
		g.welcome(c)
	case c.state != stateOpen:
		g.reset(c)
	case h.op == opData:
		g.receiveData(c, int(h.len))
	case h.op == opShutdown:
		g.shutdown(c, h.flags)
	case h.op == opCreditRequest:
		c.owes |= oweCredit
	case h.op == opCreditUpdate:
	default:
		g.reset(c)
	}
}

// welcome tells the host that the guest has accepted.
func (g *guest) welcome(c *connection) {
	c.state = stateOpen
	line := fmt.Appendf(nil, "OK %d\n", c.host)
	if n, err := g.io.send(c.fd, [][]byte{line}, 0, len(line)); n < len(line) || err != nil {
		g.reset(c)
	}
}

// receiveData takes n bytes of data, which follow the header in g.chain.
func (g *guest) receiveData(c *connection, n int) {
	if c.wasShut&shutSend != 0 || n > bufferSize-c.kept.n {
		g.reset(c) // the guest sent more than its credit allows, or sent after a shutdown
		return
	}
	taken := 0
	if c.kept.n == 0 && n > 0 {
		var err error
		if taken, err = g.io.send(c.fd, g.chain.Out, headerSize, n); err != nil {
			g.reset(c)
			return
		}
		g.forwardedTo(c, taken)
	}
	if taken < n {
		c.kept.put(g.chain.Out, headerSize+taken, n-taken)
	}
}

// forwardedTo counts n bytes that the socket of the host has taken.
func (g *guest) forwardedTo(c *connection, n int) {
	c.forwarded += uint32(n)
	if c.forwarded-c.advertised >= bufferSize/4 {
		c.owes |= oweCredit
	}
}

// drain writes kept data to the socket of the host.
func (g *guest) drain(c *connection) {
	for c.kept.n > 0 {
		parts := c.kept.parts()
		n, err := g.io.send(c.fd, parts[:], 0, c.kept.n)
		if err != nil {
			g.reset(c)
			return
		}
		if n == 0 {
			return
		}
		c.kept.drop(n)
		g.forwardedTo(c, n)
	}
	g.settle(c)
}

// shutdown handles a shutdown of the guest, for receiving, sending, or both.
func (g *guest) shutdown(c *connection, flags uint32) {
	c.wasShut |= flags & shutBoth
	if flags&shutReceive != 0 {
		c.noMore = true
		_ = unix.Shutdown(c.fd, unix.SHUT_RD) // ignore the error: the peer may be gone
	}
	g.settle(c)
}

// settle applies the guest's shutdown once the host has all data that the guest
// sent before it.
func (g *guest) settle(c *connection) {
	switch {
	case c.kept.n > 0 || c.wasShut&shutSend == 0:
	case c.wasShut == shutBoth:
		g.reset(c) // the reset confirms the shutdown (§5.10.6.5)
	default:
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	}
}

// operations maps each debt to the operation of its packet.
var operations = map[debt]uint16{
	oweRequest: opRequest, oweResponse: opResponse, oweCredit: opCreditUpdate, oweShutdown: opShutdown, oweReset: opReset,
}

// deliverFor sends the guest the pending packets and data of a connection, up
// to its share of a turn.
func (g *guest) deliverFor(c *connection) error {
	for range batch {
		if ok, err := g.pay(c); err != nil || !ok {
			return err
		}
		if c.ready == 0 || !c.readable() {
			return nil
		}
		if ok, err := g.buffer(); err != nil || !ok {
			return err
		}
		h := g.header(c, opData)
		room := min(g.chain.InLen-headerSize, int(c.credit()))
		n, err := g.io.receive(c.fd, 0, g.chain.In, headerSize, room)
		if n > 0 {
			h.len = uint32(n)
			c.sent += h.len
			c.advertised = c.forwarded
			g.push(&h)
			continue
		}
		g.rx.Queue().Unpop(1)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			g.reset(c)
		default:
			c.noMore = true
			c.owes |= oweShutdown
			c.willShut = shutSend
			if c.ready&unix.POLLHUP != 0 {
				c.willShut = shutBoth // the host's program does not read either
			}
		}
	}
	return nil
}

// pay sends the packets that c owes. It reports false if the guest has no
// buffer, or if the connection is gone.
func (g *guest) pay(c *connection) (bool, error) {
	for c.owes != 0 {
		first := c.owes & -c.owes
		h := g.header(c, operations[first])
		if first == oweShutdown {
			h.flags = c.willShut
		}
		if ok, err := g.send(&h); err != nil || !ok {
			return false, err
		}
		c.owes &^= first
		c.advertised = c.forwarded
		if first == oweReset {
			g.remove(c)
		}
	}
	return c.state != stateGone, nil
}

// header returns a header for a packet of c to the guest.
func (g *guest) header(c *connection, op uint16) header {
	return header{
		srcCID: hostCID, dstCID: g.d.cid, srcPort: c.host, dstPort: c.guest, typ: typeStream, op: op,
		alloc: bufferSize, forwarded: c.forwarded,
	}
}
