package dns

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolvConfPath is the host's resolver configuration (resolv.conf(5)).
const resolvConfPath = "/etc/resolv.conf"

// recheck is how long the file's contents are cached, as in Go's own resolver.
const recheck = 5 * time.Second

// resolvConf caches the host's name servers.
type resolvConf struct {
	mu   sync.Mutex
	read time.Time
	list []netip.AddrPort
}

// servers returns the host's current name servers.
func (c *resolvConf) servers() []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read.IsZero() || time.Since(c.read) > recheck {
		text, err := os.ReadFile(resolvConfPath)
		if err != nil {
			text = nil // a file that cannot be read counts as empty
		}
		c.list, c.read = nameServers(text), time.Now()
	}
	return c.list
}

// nameServers returns the name servers in the text of a resolv.conf.
func nameServers(text []byte) []netip.AddrPort {
	var list []netip.AddrPort
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, Port))
		}
	}
	return list
}

// localTTL is the TTL of local answers in seconds. It is short because /etc/hosts
// may change.
const localTTL = 10

// answerLocally answers query through the host's resolver, which reads /etc/hosts
// if there is no name server. It only answers A, AAAA and PTR questions. It
// returns nil if query is malformed.
func answerLocally(ctx context.Context, query []byte) []byte {
	h, q, err := question(query)
	if err != nil {
		return malformed(query)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	bodies, err := lookup(ctx, q)
	var notFound *net.DNSError
	code := dnsmessage.RCodeSuccess
	switch {
	case errors.As(err, &notFound) && notFound.IsNotFound:
		code = dnsmessage.RCodeNameError
	case err != nil:
		return failure(query)
	}
	return pack(query, h, code, q, bodies)
}

// own answers a query for one of Names. It returns nil for any other query.
func (d *Forwarder) own(query []byte) []byte {
	h, q, err := question(query)
	if err != nil {
		return nil
	}
	addrs, ok := d.Names[strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))]
	if !ok {
		return nil
	}
	var bodies []dnsmessage.ResourceBody
	for _, a := range addrs {
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			bodies = append(bodies, &dnsmessage.AResource{A: a.As4()})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			bodies = append(bodies, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	return pack(query, h, dnsmessage.RCodeSuccess, q, bodies)
}

// question returns the header and the first question of a query.
func question(query []byte) (h dnsmessage.Header, q dnsmessage.Question, err error) {
	var p dnsmessage.Parser
	if h, err = p.Start(query); err == nil {
		q, err = p.Question()
	}
	return h, q, err
}

// malformed returns the answer to a query without a question: nil if it has no header.
func malformed(query []byte) []byte {
	if len(query) < headerSize {
		return nil
	}
	return failure(query)
}

// pack returns the answer to a query.
func pack(query []byte, h dnsmessage.Header, code dnsmessage.RCode, q dnsmessage.Question, bodies []dnsmessage.ResourceBody) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true, RCode: code},
		Questions: []dnsmessage.Question{q},
	}
	for _, body := range bodies {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: localTTL},
			Body:   body,
		})
	}
	answer, err := m.Pack()
	if err != nil {
		return failure(query)
	}
	return answer
}

// lookup returns the resource records for q that the host's resolver finds.
func lookup(ctx context.Context, q dnsmessage.Question) ([]dnsmessage.ResourceBody, error) {
	var bodies []dnsmessage.ResourceBody
	name := strings.TrimSuffix(q.Name.String(), ".")
	switch q.Type {
	case dnsmessage.TypeA:
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		for _, a := range addrs {
			bodies = append(bodies, &dnsmessage.AResource{A: a.Unmap().As4()})
		}
		return bodies, err
	case dnsmessage.TypeAAAA:
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", name)
		for _, a := range addrs {
			bodies = append(bodies, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		return bodies, err
	case dnsmessage.TypePTR:
		addr, ok := reverseName(name)
		if !ok {
			return nil, nil
		}
		names, err := net.DefaultResolver.LookupAddr(ctx, addr.String())
		for _, s := range names {
			if !strings.HasSuffix(s, ".") {
				s += "."
			}
			n, err := dnsmessage.NewName(s)
			if err != nil {
				return nil, err
			}
			bodies = append(bodies, &dnsmessage.PTRResource{PTR: n})
		}
		return bodies, err
	}
	return nil, nil
}

// reverseName returns the address of a name below in-addr.arpa (RFC 1035 §3.5) or
// ip6.arpa (RFC 3596 §2.5). It reports false for other names.
func reverseName(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		a, err := netip.ParseAddr(digits)
		if err != nil || !a.Is4() {
			return netip.Addr{}, false
		}
		b := a.As4()
		return netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), true
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa")
	nibbles := strings.Split(digits, ".")
	if !ok || len(nibbles) != 32 {
		return netip.Addr{}, false
	}
	var s strings.Builder
	for i := 31; i >= 0; i-- {
		s.WriteString(nibbles[i])
		if i%4 == 0 && i > 0 {
			s.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(s.String())
	return a, err == nil && !a.Is4In6()
}
