package gateway

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/pith-os/pith/internal/netns"
)

const (
	dnsPort = 53
	// dnsTimeout is how long each name server may take to answer.
	dnsTimeout = 3 * time.Second
	// dnsIdle is how long the guest's TCP connection to the name server may be
	// idle (RFC 7766 §6.2.3).
	dnsIdle = 30 * time.Second
	// dnsHeader is the size of a message's header (RFC 1035 §4.1.1).
	dnsHeader = 12
)

// dnsForwarder is the name server on the guest's link. It forwards messages to the
// host's name servers and back, and reads only their headers. A stub resolver such
// as 127.0.0.53 works too, because the query comes from the host. If the host has
// no name server, its own resolver answers.
type dnsForwarder struct {
	g       *Gateway
	pending atomic.Int32 // queries in flight
	config  resolvConf
}

func (d *dnsForwarder) init(g *Gateway) { d.g = g }

// handleUDP answers a query in a new goroutine.
func (d *dnsForwarder) handleUDP(guest, server netip.AddrPort, query []byte) {
	if !isQuery(query) || !d.acquire() {
		return // the guest's resolver asks again
	}
	query = append([]byte(nil), query...)
	if !d.g.begin(func(ctx context.Context) {
		defer d.pending.Add(-1)
		if answer := d.resolve(ctx, "udp", query); answer != nil {
			d.reply(guest, server, answer)
		}
	}) {
		d.pending.Add(-1)
	}
}

// acquire reserves a place for a query. It reports false if Config.MaxDNS queries
// are in flight.
func (d *dnsForwarder) acquire() bool {
	if int(d.pending.Add(1)) > d.g.cfg.MaxDNS {
		d.pending.Add(-1)
		return false
	}
	return true
}

func (d *dnsForwarder) reply(guest, server netip.AddrPort, answer []byte) {
	r, err := d.g.stack.FindRoute(nicID, toStack(server.Addr()), toStack(guest.Addr()), protocolOf(guest.Addr()), false)
	if err != nil {
		return
	}
	defer r.Release()
	sendUDP(r, server.Port(), guest.Port(), answer)
}

// serveTCP answers the queries on a connection of the guest in order, and closes
// it.
func (d *dnsForwarder) serveTCP(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhook()
	for {
		if conn.SetDeadline(time.Now().Add(dnsIdle)) != nil {
			return
		}
		query, err := readMessage(conn)
		if err != nil || !isQuery(query) || !d.acquire() {
			return
		}
		answer := d.resolve(ctx, "tcp", query)
		d.pending.Add(-1)
		if answer == nil || writeMessage(conn, answer) != nil {
			return
		}
	}
}

// resolve returns the answer to query, or nil if query is malformed.
func (d *dnsForwarder) resolve(ctx context.Context, network string, query []byte) []byte {
	servers := d.g.cfg.Resolvers
	if servers == nil {
		servers = d.config.servers()
	}
	if len(servers) == 0 {
		return answerLocally(ctx, query)
	}
	for _, s := range servers {
		if answer, err := d.exchange(ctx, network, s, query); err == nil {
			return answer
		}
	}
	return failure(query)
}

// exchange sends query to a name server and returns its answer.
func (d *dnsForwarder) exchange(ctx context.Context, network string, server netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := netns.Make(d.g.cfg.Namespace, func() (net.Conn, error) {
		return dialer.DialContext(ctx, network, server.String())
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhook()
	if network == "tcp" {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		return readMessage(conn)
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	in, err := newReader(conn.(*net.UDPConn))
	if err != nil {
		return nil, err
	}
	for {
		buf, n, err := in.read()
		if err != nil {
			return nil, err
		}
		var answer []byte
		if n >= dnsHeader && [2]byte(buf[:2]) == [2]byte(query[:2]) {
			answer = append(answer, buf[:n]...)
		}
		buffers.Put(buf)
		if answer != nil {
			return answer, nil
		}
	}
}

// isQuery reports whether m can be a standard query (RFC 1035 §4.1.1): QR and
// opcode are zero.
func isQuery(m []byte) bool { return len(m) >= dnsHeader && m[2]&0xf8 == 0 }

// failure returns an answer to query with RCODE SERVFAIL.
func failure(query []byte) []byte {
	const response, recursionAvailable, serverFailure = 0x80, 0x80, 2
	m := append([]byte(nil), query...)
	m[2] |= response
	m[3] = recursionAvailable | serverFailure
	return m
}

// readMessage and writeMessage frame messages on TCP (RFC 1035 §4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	m := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, m)
	return m, err
}

func writeMessage(w io.Writer, m []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(m)), uint16(len(m)))
	_, err := w.Write(append(b, m...))
	return err
}
