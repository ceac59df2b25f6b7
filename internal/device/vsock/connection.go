package vsock

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// ports name a connection: the host's port and the guest's.
type ports struct{ host, guest uint32 }

// firstPort is the first of the ports that connections from the host come from.
const firstPort = 1 << 30

type state uint8

const (
	stateGreeting state = iota // the host is to say which port it wants
	stateAsked                 // the broker is to connect
	stateOffered               // the guest is to accept
	stateOpen
	stateEnded // the guest is to be told; there is no socket any more
	stateGone
)

// What a connection owes the guest, in this order.
type debt uint8

const (
	oweRequest debt = 1 << iota
	oweResponse
	oweCredit
	oweShutdown // behind all data
	oweReset
)

// bufferSize is the room that the guest may fill, in bytes.
const bufferSize = 128 << 10

// batch is how many packets of data a connection may send the guest before it is
// another's turn.
const batch = 8

// connection is a connection, or the attempt to make one.
type connection struct {
	ports
	state state
	fd    int   // -1: none
	ready int16 // of the socket, as poll(2) said last
	line  []byte
	owes  debt

	kept     ring   // of the guest, for the host
	noMore   bool   // the host sends no more, or the guest wants no more
	wasShut  uint32 // what the guest shut down
	willShut uint32 // what opShutdown is to say

	// Credit (§5.10.6.3), modulo 1<<32.
	forwarded, told        uint32 // to the host's socket; of that the guest knows
	sent                   uint32
	guestAlloc, guestTaken uint32 // what it says of itself
}

// credit is how much the guest takes now.
func (c *connection) credit() uint32 {
	under := c.sent - c.guestTaken // way
	if under > c.guestAlloc {
		return 0
	}
	return c.guestAlloc - under
}

// readable says whether data may be taken from the host for the guest.
func (c *connection) readable() bool {
	return c.state == stateOpen && !c.noMore && c.owes == 0 && c.credit() > 0
}

// events is what the socket is to be watched for. A socket that is watched for
// nothing is not watched: its end would be told all the time.
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

// remove ends a connection of which the guest knows nothing, or all.
func (g *guest) remove(c *connection) {
	c.close()
	c.state, c.owes = stateGone, 0
	if g.byPorts[c.ports] == c {
		delete(g.byPorts, c.ports)
	}
}

// reset ends a connection that the guest knows.
func (g *guest) reset(c *connection) {
	c.close()
	c.state, c.owes = stateEnded, oweReset
}

func (c *connection) close() {
	if c.fd >= 0 {
		_ = unix.Close(c.fd) // what was written to it is with its other end
	}
	c.fd, c.kept = -1, ring{}
}

// accept takes connections of the host.
func (g *guest) accept() {
	for range MaxConnections {
		fd, _, err := unix.Accept4(g.d.fds.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
			continue
		case err != nil:
			g.deaf = true
			return
		}
		c := &connection{fd: fd, state: stateGreeting}
		if !g.add(c) {
			c.close()
		}
	}
}

// serve does what the socket is ready for, but for reading data.
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

// greet reads the line by which the host begins, and nothing behind it.
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

// freePorts is ports for a connection to the guest's.
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

// request is a connect of the guest's.
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

// answers takes the broker's.
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
		c := &connection{state: stateGone} // an answer without a question is nobody's
		if len(g.d.asked) > 0 {
			c = g.d.asked[0]
			g.d.asked = g.d.asked[1:]
		}
		g.connected(c, descriptor(rights[:control]))
	}
}

// connected is the answer to a connect of the guest's, -1 for a refusal.
func (g *guest) connected(c *connection, fd int) {
	switch {
	case c.state != stateAsked: // it is gone by now
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	case fd < 0:
		g.reset(c)
	default:
		c.fd, c.state, c.owes = fd, stateOpen, oweResponse
	}
}

// receiveFor takes a packet of a connection.
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

// receiveData takes n bytes of data behind the header in g.chain.
func (g *guest) receiveData(c *connection, n int) {
	if c.wasShut&shutSend != 0 || n > bufferSize-c.kept.n {
		g.reset(c) // it has sent more than it was given credit for
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

// forwardedTo notes that n bytes are with the host.
func (g *guest) forwardedTo(c *connection, n int) {
	c.forwarded += uint32(n)
	if c.forwarded-c.told >= bufferSize/4 {
		c.owes |= oweCredit
	}
}

// drain writes what is kept.
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

// shutdown is the guest's: it will not receive, or not send, any more.
func (g *guest) shutdown(c *connection, flags uint32) {
	c.wasShut |= flags & shutBoth
	if flags&shutReceive != 0 {
		c.noMore = true
		_ = unix.Shutdown(c.fd, unix.SHUT_RD) // its other end may be gone
	}
	g.settle(c)
}

// settle does what the guest has shut down once the host has all that was sent
// before.
func (g *guest) settle(c *connection) {
	switch {
	case c.kept.n > 0 || c.wasShut&shutSend == 0:
	case c.wasShut == shutBoth:
		g.reset(c) // which says that it is done
	default:
		_ = unix.Shutdown(c.fd, unix.SHUT_WR)
	}
}

// operations are what the debts are paid by.
var operations = map[debt]uint16{
	oweRequest: opRequest, oweResponse: opResponse, oweCredit: opCreditUpdate, oweShutdown: opShutdown, oweReset: opReset,
}

// deliverFor sends the guest what there is of a connection, as far as it is its
// turn.
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
			c.told = c.forwarded
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
				c.willShut = shutBoth // nobody is there to read, either
			}
		}
	}
	return nil
}

// pay sends what c owes. It reports false if there is no buffer for that, or
// the connection is gone.
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
		c.told = c.forwarded
		if first == oweReset {
			g.remove(c)
		}
	}
	return c.state != stateGone, nil
}

// header is that of a packet of c to the guest.
func (g *guest) header(c *connection, op uint16) header {
	return header{
		srcCID: hostCID, dstCID: g.d.cid, srcPort: c.host, dstPort: c.guest, typ: typeStream, op: op,
		alloc: bufferSize, forwarded: c.forwarded,
	}
}
