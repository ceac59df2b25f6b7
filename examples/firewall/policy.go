package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Proto is a transport protocol.
type Proto string

const (
	AnyProto Proto = ""
	TCP      Proto = "tcp"
	UDP      Proto = "udp"
)

// Policy is what a rules file says. Rules are tried in order and the first
// that matches decides; what none matches is denied.
type Policy struct {
	Forwards  []*Forward
	Rules     []*Rule
	Defaulted atomic.Int64 // flows that no rule matched
}

// Forward is one way through the firewall.
type Forward struct {
	Proto    Proto
	Port     uint16
	Upstream string // host:port

	Flows, Open, In, Out, Failed atomic.Int64 // In and Out in bytes
}

func (f *Forward) String() string {
	return fmt.Sprintf("%s %d to %s", f.Proto, f.Port, f.Upstream)
}

// Rule matches new flows. An established flow is not looked at again.
type Rule struct {
	Allow bool
	Proto Proto
	From  []netip.Prefix // empty: any
	Port  uint16         // of the firewall; 0: any
	Rate  *Limiter       // nil: none. The rule matches only within the rate
	Log   bool

	Hits atomic.Int64
	text string
}

func (r *Rule) String() string { return r.text }

// Flow is what is known of a flow at its first packet.
type Flow struct {
	Proto Proto
	From  netip.AddrPort
	Port  uint16
}

// Admit decides on a new flow.
func (p *Policy) Admit(f Flow, now time.Time) bool {
	for _, r := range p.Rules {
		if !r.matches(f, now) {
			continue
		}
		r.Hits.Add(1)
		if r.Log {
			log.Printf("%s: %s from %v to port %d", r, f.Proto, f.From, f.Port)
		}
		return r.Allow
	}
	p.Defaulted.Add(1)
	return false
}

func (r *Rule) matches(f Flow, now time.Time) bool {
	from := f.From.Addr().Unmap()
	switch {
	case r.Proto != AnyProto && r.Proto != f.Proto:
		return false
	case r.Port != 0 && r.Port != f.Port:
		return false
	case len(r.From) > 0 && !slices.ContainsFunc(r.From, func(n netip.Prefix) bool { return n.Contains(from) }):
		return false
	}
	return r.Rate == nil || r.Rate.Allow(from, now)
}

// ParsePolicy reads a rules file: one statement a line, # begins a comment.
//
//	forward tcp|udp PORT to HOST:PORT
//	allow|deny [tcp|udp] [from ADDRESS[/BITS],...] [port PORT] [rate N/s|N/m] [log]
func ParsePolicy(text string) (*Policy, error) {
	p := new(Policy)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var err error
		switch words[0] {
		case "forward":
			err = p.addForward(words[1:])
		case "allow", "deny":
			err = p.addRule(words)
		default:
			err = fmt.Errorf("unknown statement %q: forward, allow or deny", words[0])
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
	}
	if len(p.Forwards) == 0 {
		return nil, fmt.Errorf("%d: nothing to forward", n)
	}
	return p, nil
}

func (p *Policy) addForward(words []string) error {
	if len(words) != 4 || words[2] != "to" {
		return errors.New("forward: want PROTOCOL PORT to HOST:PORT")
	}
	f := &Forward{Proto: Proto(words[0]), Upstream: words[3]}
	if f.Proto != TCP && f.Proto != UDP {
		return fmt.Errorf("forward: %q is neither tcp nor udp", words[0])
	}
	var err error
	if f.Port, err = parsePort(words[1]); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(f.Upstream); err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	p.Forwards = append(p.Forwards, f)
	return nil
}

func (p *Policy) addRule(words []string) error {
	r := &Rule{Allow: words[0] == "allow", text: strings.Join(words, " ")}
	rest := words[1:]
	// value takes the word after a keyword.
	value := func(keyword string) (string, error) {
		if len(rest) == 0 {
			return "", fmt.Errorf("%s: value missing", keyword)
		}
		v := rest[0]
		rest = rest[1:]
		return v, nil
	}
	for len(rest) > 0 {
		word := rest[0]
		rest = rest[1:]
		var v string
		var err error
		switch word {
		case "tcp", "udp":
			r.Proto = Proto(word)
		case "log":
			r.Log = true
		case "from":
			if v, err = value(word); err == nil {
				r.From, err = parsePrefixes(v)
			}
		case "port":
			if v, err = value(word); err == nil {
				r.Port, err = parsePort(v)
			}
		case "rate":
			if v, err = value(word); err == nil {
				r.Rate, err = parseRate(v)
			}
		default:
			err = fmt.Errorf("unknown word %q", word)
		}
		if err != nil {
			return err
		}
	}
	p.Rules = append(p.Rules, r)
	return nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port, 1 to 65535", s)
	}
	return uint16(n), nil
}

func parsePrefixes(list string) ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for s := range strings.SplitSeq(list, ",") {
		if addr, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		n, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor ADDRESS/BITS", s)
		}
		nets = append(nets, n.Masked())
	}
	return nets, nil
}

func parseRate(s string) (*Limiter, error) {
	num, unit, _ := strings.Cut(s, "/")
	n, err := strconv.Atoi(num)
	per, ok := map[string]time.Duration{"s": time.Second, "m": time.Minute}[unit]
	if err != nil || n < 1 || !ok {
		return nil, fmt.Errorf("%q is not a rate, such as 10/s or 100/m", s)
	}
	return NewLimiter(n, per), nil
}
