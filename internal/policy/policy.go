// Package policy decides which addresses of the host's networks an instance may reach.
// The gateway asks it for every connection and flow of a virtual machine, and the server
// of host sockets for those of a confined process.
//
// A policy is a list of rules. The rule with the longest prefix decides. Between equal
// prefixes, a rule with a port comes before a rule without, and then a rule that denies
// comes before one that allows. An address that no rule covers is allowed. What is closed
// by default are rules of the same kind.
package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule allows or denies the addresses of a prefix.
type Rule struct {
	Prefix netip.Prefix // masked, not IPv4-mapped
	Port   uint16       // 0: all ports, and ping
	Allow  bool
	Name   string // for users: the flag that made the rule, or what it closes
	// Named says that the user has opened these very addresses, by --host-loopback or
	// --metadata: they are open even where they are the host's own.
	Named bool
}

// ParseRule reads CIDR[:PORT], such as 10.0.0.0/8 or fd00::/8:443. An address without a
// prefix length stands for itself: 10.1.2.3:80, [fd00::1]:443.
func ParseRule(s string) (Rule, error) {
	bad := func() (Rule, error) {
		return Rule{}, fmt.Errorf("%q is not CIDR[:PORT]: give 10.0.0.0/8, 10.0.2.2/32:5432 or fd00::/8:443", s)
	}
	var r Rule
	if address, rest, ok := strings.Cut(s, "/"); ok {
		bits, port, hasPort := strings.Cut(rest, ":")
		prefix, err := netip.ParsePrefix(strings.Trim(address, "[]") + "/" + bits)
		if err != nil {
			return bad()
		}
		r.Prefix = prefix
		if hasPort {
			if r.Port, err = parsePort(port); err != nil {
				return bad()
			}
		}
	} else if at, err := netip.ParseAddrPort(s); err == nil && at.Port() != 0 {
		r.Prefix, r.Port = netip.PrefixFrom(at.Addr(), at.Addr().BitLen()), at.Port()
	} else if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && addr.Zone() == "" {
		r.Prefix = netip.PrefixFrom(addr, addr.BitLen())
	} else {
		return bad()
	}
	if a := r.Prefix.Addr(); a.Zone() != "" {
		return bad()
	} else if a.Is4In6() {
		if r.Prefix.Bits() < 96 {
			return bad()
		}
		r.Prefix = netip.PrefixFrom(a.Unmap(), r.Prefix.Bits()-96)
	}
	r.Prefix = r.Prefix.Masked()
	return r, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && n == 0 {
		err = strconv.ErrRange
	}
	return uint16(n), err
}

// String returns the rule in the form of ParseRule.
func (r Rule) String() string {
	if r.Port == 0 {
		return r.Prefix.String()
	}
	return r.Prefix.String() + ":" + strconv.Itoa(int(r.Port))
}

// Policy is a list of rules. A nil Policy allows everything.
type Policy struct {
	rules []Rule // in the order in which they decide
	local func(netip.Addr) (bool, error)
}

// New returns a policy of rules. local reports whether an address is the host's own: the
// policy then closes it, as a rule for this address alone would. A nil local closes none.
func New(rules []Rule, local func(netip.Addr) (bool, error)) *Policy {
	p := &Policy{rules: slices.Clone(rules), local: local}
	slices.SortStableFunc(p.rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits()), compareTrue(a.Port != 0, b.Port != 0), compareTrue(!a.Allow, !b.Allow))
	})
	return p
}

// compareTrue orders true before false.
func compareTrue(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Check returns nil if an instance may reach port of addr, and the rule that denies it
// otherwise. Port 0 stands for what has no ports, such as ping. The error means that the
// host did not say whether the address is its own; the address is then denied.
//
// An IPv6 address that contains an IPv4 address is denied if either of the two is.
func (p *Policy) Check(addr netip.Addr, port uint16) (*Rule, error) {
	if p == nil {
		return nil, nil
	}
	addr = addr.WithZone("").Unmap()
	if inner, ok := embedded(addr); ok {
		if meaningless(inner) {
			return &Rule{Prefix: host(addr), Name: "it stands for " + inner.String()}, nil
		}
		if r, err := p.check(inner, port); r != nil {
			return r, err
		}
	}
	return p.check(addr, port)
}

func (p *Policy) check(addr netip.Addr, port uint16) (*Rule, error) {
	decides := func(r Rule) bool { return r.Prefix.Contains(addr) && (r.Port == 0 || r.Port == port) }
	i := slices.IndexFunc(p.rules, decides)
	// The rule for an own address has the longest prefix. Only a rule with a port
	// for the same address comes before it, and one that opens it by name.
	if p.local != nil && (i < 0 || p.rules[i].Prefix.Bits() < addr.BitLen() || p.rules[i].Port == 0 && !p.rules[i].Named) {
		if own, err := p.local(addr); own || err != nil {
			return &Rule{Prefix: host(addr), Name: "the host's own addresses are closed by default"}, err
		}
	}
	if i < 0 || p.rules[i].Allow {
		return nil, nil
	}
	return &p.rules[i], nil
}

// host returns the prefix of one address.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// Prefixes of IPv6 addresses that contain an IPv4 address: of translators (RFC 6052 §2.1)
// and of 6to4 (RFC 3056 §2).
var (
	translated = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

// embedded returns the IPv4 address in an IPv6 address that contains one.
func embedded(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	b := a.As16()
	switch {
	case translated.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

// meaningless reports whether a has no meaning in another address.
func meaningless(a netip.Addr) bool { return a.IsLoopback() || a.As4()[0] == 0 }
