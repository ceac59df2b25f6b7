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

// Policy is the contents of a rules file. The first rule that matches a flow
// decides. A flow that no rule matches is denied.
type Policy struct {
	Forwards  []*Forward
	Rules     []*Rule
	Defaulted atomic.Int64 // flows that no rule matched
}

// Forward is a port of the firewall with its upstream.
type Forward struct {
	Proto    Proto
	Port     uint16
	Upstream string // HOST:PORT

	Flows, Open, In, Out, Failed atomic.Int64 // In and Out are in bytes
}

func (f *Forward) String() string {
	return fmt.Sprintf("%s %d to %s", f.Proto, f.Port, f.Upstream)
}

// Rule decides about new flows. The packets of an established flow are not
// checked again.
type Rule struct {
	Allow bool
	Proto Proto
	From  []netip.Prefix // empty: any
	Port  uint16         // a port of the firewall; 0: any
	Rate  *Limiter       // nil: no limit. The rule matches only flows within the rate
	Log   bool

	Hits atomic.Int64
	text string
}

func (r *Rule) String() string { return r.text }

// Flow describes a flow by its first packet.
type Flow struct {
	Proto Proto
	From  netip.AddrPort
	Port  uint16
}

// Admit reports whether a new flow is allowed.
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

// ParsePolicy parses a rules file. Each line has one statement. A comment
// starts with #.
//
//	forward tcp|udp PORT to HOST:PORT
//	allow|deny [tcp|udp] [from ADDRESS[/BITS],...] [port PORT] [rate N/s|N/m] [log]
func ParsePolicy(text string) (*Policy, error) {
	p := new(Policy)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		var err error
		switch fields[0] {
		case "forward":
			err = p.addForward(fields[1:])
		case "allow", "deny":
			err = p.addRule(fields)
		default:
			err = fmt.Errorf("unknown statement %q; want forward, allow or deny", fields[0])
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
	}
	if len(p.Forwards) == 0 {
		return nil, fmt.Errorf("%d: the file has no forward statement", n)
	}
	return p, nil
}

func (p *Policy) addForward(fields []string) error {
	if len(fields) != 4 || fields[2] != "to" {
		return errors.New("forward: want PROTOCOL PORT to HOST:PORT")
	}
	f := &Forward{Proto: Proto(fields[0]), Upstream: fields[3]}
	if f.Proto != TCP && f.Proto != UDP {
		return fmt.Errorf("forward: %q is neither tcp nor udp", fields[0])
	}
	var err error
	if f.Port, err = parsePort(fields[1]); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(f.Upstream); err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	p.Forwards = append(p.Forwards, f)
	return nil
}

func (p *Policy) addRule(fields []string) error {
	r := &Rule{Allow: fields[0] == "allow", text: strings.Join(fields, " ")}
	rest := fields[1:]
	// value returns the value of a keyword.
	value := func(keyword string) (string, error) {
		if len(rest) == 0 {
			return "", fmt.Errorf("%s: the value is missing", keyword)
		}
		v := rest[0]
		rest = rest[1:]
		return v, nil
	}
	for len(rest) > 0 {
		keyword := rest[0]
		rest = rest[1:]
		var v string
		var err error
		switch keyword {
		case "tcp", "udp":
			r.Proto = Proto(keyword)
		case "log":
			r.Log = true
		case "from":
			if v, err = value(keyword); err == nil {
				r.From, err = parsePrefixes(v)
			}
		case "port":
			if v, err = value(keyword); err == nil {
				r.Port, err = parsePort(v)
			}
		case "rate":
			if v, err = value(keyword); err == nil {
				r.Rate, err = parseRate(v)
			}
		default:
			err = fmt.Errorf("unknown keyword %q", keyword)
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
