// Package dns is the name server of instances in the user-mode network. It forwards
// messages to the host's name servers and back, and reads only their headers. A stub
// resolver such as 127.0.0.53 works too, because the query comes from the host. If the host
// has no name server, its own resolver answers.
package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pith-os/pith/internal/netns"

	"golang.org/x/sys/unix"
)

// Port is the port of name servers.
const Port = 53

const (
	// timeout is how long each name server may take to answer.
	timeout = 3 * time.Second
	// idle is how long a client's TCP connection may be idle (RFC 7766 §6.2.3).
	idle = 30 * time.Second
	// headerSize is the size of a message's header (RFC 1035 §4.1.1).
	headerSize = 12
	// defaultQueries is Forwarder.MaxQueries unless it is set.
	defaultQueries = 128
)

// Forwarder answers the queries of one instance. The instance is not trusted.
type Forwarder struct {
	// Namespace is the network namespace of the host in which the queries are sent;
	// nil: the caller's.
	Namespace *netns.Namespace
	// Servers are the name servers. nil: those of the host's /etc/resolv.conf at the
	// time of each query. Empty: the host's resolver answers.
	Servers []netip.AddrPort
	// Names are names that the forwarder itself answers, without a dot at the end.
	Names map[string][]netip.Addr
	// MaxQueries is the largest number of queries in flight, by default 128.
	MaxQueries int

	pending atomic.Int32 // queries in flight
	config  resolvConf
}

// Begin reserves a place for a query, which the caller then passes to Answer. It reports
// false if the message is no query, or if too many are in flight. The client's resolver asks
// again.
func (d *Forwarder) Begin(query []byte) bool {
	most := d.MaxQueries
	if most == 0 {
		most = defaultQueries
	}
	if !isQuery(query) {
		return false
	}
	if int(d.pending.Add(1)) > most {
		d.pending.Add(-1)
		return false
	}
	return true
}

// Answer returns the answer to a query for which Begin has reserved a place, and frees the
// place. network is "udp" or "tcp". The answer is nil if the query is malformed.
func (d *Forwarder) Answer(ctx context.Context, network string, query []byte) []byte {
	defer d.Cancel()
	return d.resolve(ctx, network, query)
}

// Cancel frees a place that Begin has reserved, for a query that is not to be answered.
func (d *Forwarder) Cancel() { d.pending.Add(-1) }

// ServeStream answers the queries on a client's TCP connection in order, and closes it.
func (d *Forwarder) ServeStream(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer unhook()
	for {
		if conn.SetDeadline(time.Now().Add(idle)) != nil {
			return
		}
		query, err := readMessage(conn)
		if err != nil || !d.Begin(query) {
			return
		}
		answer := d.Answer(ctx, "tcp", query)
		if answer == nil || writeMessage(conn, answer) != nil {
			return
		}
	}
}

// Serve answers the queries on a client's connection, of a stream or of messages
// (SOCK_STREAM, SOCK_DGRAM), until the client closes it, and closes it.
func (d *Forwarder) Serve(conn net.Conn, kind int) {
	if kind == unix.SOCK_STREAM {
		d.ServeStream(context.Background(), conn)
	} else {
		d.serveMessages(conn)
	}
}

func (d *Forwarder) serveMessages(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer conn.Close()
	buf := make([]byte, maxQuery)
	for {
		n, err := conn.Read(buf)
		if err != nil || n == 0 {
			return
		}
		query := append([]byte(nil), buf[:n]...)
		if !d.Begin(query) {
			continue
		}
		go func() {
			if answer := d.Answer(ctx, "udp", query); answer != nil {
				_, _ = conn.Write(answer) // it fails if the client is gone
			}
		}()
	}
}

// maxQuery is the length of the longest query by UDP. Resolvers send a few hundred bytes.
const maxQuery = 4096

// resolve returns the answer to query, or nil if query is malformed.
func (d *Forwarder) resolve(ctx context.Context, network string, query []byte) []byte {
	if answer := d.own(query); answer != nil {
		return answer
	}
	servers := d.Servers
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
func (d *Forwarder) exchange(ctx context.Context, network string, server netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := netns.Make(d.Namespace, func() (net.Conn, error) {
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
	buf := answers.Get().(*[maxAnswer]byte)
	defer answers.Put(buf)
	for {
		n, err := conn.Read(buf[:])
		if err != nil {
			return nil, err
		}
		if n >= headerSize && [2]byte(buf[:2]) == [2]byte(query[:2]) {
			return append([]byte(nil), buf[:n]...), nil
		}
	}
}

// maxAnswer is the length of the longest answer by UDP.
const maxAnswer = 65535

// answers are buffers for answers by UDP.
var answers = sync.Pool{New: func() any { return new([maxAnswer]byte) }}

// isQuery reports whether m can be a standard query (RFC 1035 §4.1.1): QR and
// opcode are zero.
func isQuery(m []byte) bool { return len(m) >= headerSize && m[2]&0xf8 == 0 }

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
