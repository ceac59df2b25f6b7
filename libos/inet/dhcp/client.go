// Package dhcp is a DHCP client (RFC 2131): it leases an IPv4 address and
// renews the lease. It only needs a way to send and receive messages. Its
// caller, package inet, decides how messages travel and what a lease changes.
package dhcp

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// Ports of the protocol.
const (
	ServerPort = 67
	ClientPort = 68
)

// Conn carries messages.
type Conn interface {
	// Send sends a message to the server port of dst, which may be
	// 255.255.255.255. local is the client's address, or 0.0.0.0 without a lease.
	// The message may be lost.
	Send(msg []byte, local, dst netip.Addr)
	// Receive waits for a message to the client port. It returns nil at the
	// deadline; a zero deadline means no deadline. An error means that no message
	// will ever come.
	Receive(deadline time.Time) ([]byte, error)
}

// Client leases an address.
type Client struct {
	Conn     Conn
	MAC      [6]byte
	Hostname string // sent to the server; empty: not sent
	// Apply is called with each new or renewed lease, and with nil when the lease
	// ends.
	Apply func(*Lease)
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

const (
	// An unanswered message is sent again after firstWait, after twice that, and
	// so on up to maxWait, each plus or minus up to a second. RFC 2131 §4.1 starts
	// with 4 seconds, for networks of 1997. Programs that wait for an address
	// cannot wait that long.
	firstWait = time.Second
	maxWait   = 64 * time.Second
	// requests is how many times the client requests an offered lease before it
	// looks for another offer.
	requests = 4
	// minRetry is the shortest time between messages for renewal (§4.4.5).
	minRetry = 60 * time.Second
)

// Run leases an address and keeps it until the connection fails. It returns the
// connection's error.
func (c *Client) Run() error {
	for {
		l, since, err := c.acquire()
		if err != nil {
			return err
		}
		c.Apply(l)
		err = c.keep(l, since)
		c.Apply(nil)
		if err != nil {
			return err
		}
	}
}

// acquire finds a server and leases an address (§4.4.1). since is when it sent
// the request.
//
// It does not probe whether another host uses the address: that takes seconds,
// and the server has done it (§2.2).
func (c *Client) acquire() (l *Lease, since time.Time, err error) {
	begin := time.Now()
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		x := c.transaction(begin)
		c.Conn.Send(x.message(discover, netip.Addr{}).bytes(), netip.IPv4Unspecified(), broadcast)
		_, offered, err := x.answer(time.Now().Add(jitter(wait)), offer)
		if err != nil {
			return nil, since, err
		}
		if offered == nil {
			continue
		}
		if l, since, err = c.request(x, offered); l != nil || err != nil {
			return l, since, err
		}
		// Wait before asking again a server that refused what it had offered
		// (§3.1.5).
		if err := c.discard(time.Now().Add(jitter(wait))); err != nil {
			return nil, since, err
		}
	}
}

// request requests the offered lease. It returns nil when the lease is not
// granted.
func (c *Client) request(x *transaction, offered *Lease) (l *Lease, since time.Time, err error) {
	wait := firstWait
	for range requests {
		m := x.message(request, netip.Addr{})
		m.add(optRequestedAddr, offered.Addr.Addr().AsSlice()...)
		m.add(optServer, offered.Server.AsSlice()...)
		since = time.Now()
		c.Conn.Send(m.bytes(), netip.IPv4Unspecified(), broadcast)
		typ, l, err := x.answer(since.Add(jitter(wait)), ack, nak)
		if typ != 0 || err != nil {
			return l, since, err
		}
		wait *= 2
	}
	return nil, since, nil
}

// keep renews the lease until it ends (§4.4.5): first with the same server,
// then with any.
func (c *Client) keep(l *Lease, since time.Time) error {
	for {
		if l.Expire == 0 {
			if err := c.discard(time.Time{}); err != nil {
				return err
			}
			continue
		}
		if err := c.discard(since.Add(l.Renew)); err != nil {
			return err
		}
		next, asked, err := c.renew(l, since)
		if err != nil || next == nil {
			return err
		}
		l, since = next, asked
		c.Apply(l)
	}
}

// renew extends the lease. It returns nil when the lease has ended.
func (c *Client) renew(l *Lease, since time.Time) (next *Lease, asked time.Time, err error) {
	expire := since.Add(l.Expire)
	x := c.transaction(time.Now())
	for {
		asked = time.Now()
		if !asked.Before(expire) {
			return nil, asked, nil
		}
		dst, end := l.Server, since.Add(l.Rebind)
		if !asked.Before(end) {
			dst, end = broadcast, expire
		}
		c.Conn.Send(x.message(request, l.Addr.Addr()).bytes(), l.Addr.Addr(), dst)
		deadline := asked.Add(max(end.Sub(asked)/2, minRetry))
		if deadline.After(end) {
			deadline = end
		}
		typ, next, err := x.answer(deadline, ack, nak)
		if typ != 0 || err != nil {
			return next, asked, err
		}
	}
}

// discard waits until the deadline and ignores all messages.
func (c *Client) discard(deadline time.Time) error {
	for {
		msg, err := c.Conn.Receive(deadline)
		if err != nil || msg == nil {
			return err
		}
	}
}

// transaction is an exchange of messages with one transaction ID.
type transaction struct {
	c     *Client
	xid   uint32
	begin time.Time
}

func (c *Client) transaction(begin time.Time) *transaction {
	return &transaction{c, rand.Uint32(), begin}
}

// message starts a message of the client.
func (x *transaction) message(typ byte, ciaddr netip.Addr) *message {
	secs := min(time.Since(x.begin)/time.Second, 0xffff)
	m := newMessage(typ, x.c.MAC, x.xid, uint16(secs), ciaddr)
	m.add(optHostname, []byte(x.c.Hostname)...)
	return m
}

// answer waits until the deadline for a message of one of the wanted types. It
// ignores other messages and malformed ones. It returns the type, and the lease
// unless the message is a NAK. Type 0 means that none came.
func (x *transaction) answer(deadline time.Time, wanted ...byte) (typ byte, l *Lease, err error) {
	for {
		msg, err := x.c.Conn.Receive(deadline)
		if err != nil || msg == nil {
			return 0, nil, err
		}
		addr, opts, err := parse(msg, x.c.MAC, x.xid)
		if err != nil {
			continue
		}
		for _, w := range wanted {
			if typ := opts.byte(optType); typ == w {
				if typ == nak {
					return typ, nil, nil
				}
				if l, err := opts.lease(addr); err == nil {
					return typ, l, nil
				}
			}
		}
	}
}

// jitter returns d plus or minus up to a second (§4.1).
func jitter(d time.Duration) time.Duration {
	spread := min(d/4, time.Second)
	return d - spread + rand.N(2*spread)
}
