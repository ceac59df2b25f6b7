package inet

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/proc"
	"github.com/pith-os/pith/libos/sys/call"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Multicast groups: those that sockets join, and their tables in /proc/net,
// which package net reads. The stack can report whether an interface is in a
// group, but cannot list groups, so each socket keeps a list.

func init() {
	proc.Register("net/igmp", groupTable4)
	proc.Register("net/igmp6", groupTable6)
}

// groups are the groups that a socket has joined.
type groups struct {
	mu     sync.Mutex
	joined []tcpip.Address
}

// membership joins or leaves a multicast group.
func (s *base) membership(join bool, m tcpip.MembershipOption) linux.Errno {
	g := &s.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	if join {
		opt := tcpip.AddMembershipOption(m)
		if err := s.ep.SetSockOpt(&opt); err != nil {
			return errnoOf(err)
		}
		g.joined = append(g.joined, m.MulticastAddr)
		return 0
	}
	opt := tcpip.RemoveMembershipOption(m)
	if err := s.ep.SetSockOpt(&opt); err != nil {
		return errnoOf(err)
	}
	if i := slices.Index(g.joined, m.MulticastAddr); i >= 0 {
		g.joined = slices.Delete(g.joined, i, i+1)
	}
	return 0
}

// member is a socket that can join groups.
type member interface {
	file.File
	memberOf() *groups
}

func (s *base) memberOf() *groups { return &s.groups }

// group is a multicast group of an interface, with the number of its users.
type group struct {
	addr  tcpip.Address
	users int
}

// groupsOf returns the groups of a protocol that interface id is in: those that
// IP requires (RFC 1112 §4, RFC 4291 §2.8) and those that open sockets have
// joined.
func groupsOf(id tcpip.NICID, nic *stack.NICInfo, proto tcpip.NetworkProtocolNumber) []group {
	candidates := []tcpip.Address{header.IPv4AllSystems, header.IPv6AllNodesMulticastAddress}
	for _, a := range nic.ProtocolAddresses {
		if a.Protocol == header.IPv6ProtocolNumber {
			candidates = append(candidates, header.SolicitedNodeAddr(a.AddressWithPrefix.Address))
		}
	}
	seen := make(map[*groups]bool)
	call.Files.Each(func(_ int, f file.File) {
		s, ok := f.(member)
		if !ok || seen[s.memberOf()] {
			return
		}
		g := s.memberOf()
		seen[g] = true
		g.mu.Lock()
		defer g.mu.Unlock()
		candidates = append(candidates, g.joined...)
	})
	var all []group
	for _, a := range candidates {
		if i := slices.IndexFunc(all, func(g group) bool { return g.addr == a }); i >= 0 {
			all[i].users++
		} else if in, err := network().IsInGroup(id, a); err == nil && in && protocolOf(a) == proto {
			all = append(all, group{a, 1})
		}
	}
	return all
}

// groupTable4 returns /proc/net/igmp, for a host with IGMP version 3 and no
// running timers (net/ipv4/igmp.c).
func groupTable4() []byte {
	var b bytes.Buffer
	b.WriteString("Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n")
	ids, info := nics()
	for _, id := range ids {
		nic := info[id]
		all := groupsOf(id, &nic, header.IPv4ProtocolNumber)
		if len(all) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%d\t%-10s: %5d %7s\n", id, nic.Name, len(all), "V3")
		for _, g := range all {
			fmt.Fprintf(&b, "\t\t\t\t%s %5d %d:%08X\t\t%d\n", hexAddress(linux.AF_INET, g.addr), g.users, 0, 0, 0)
		}
	}
	return b.Bytes()
}

// Flags of /proc/net/igmp6 (include/net/if_inet6.h).
const (
	mafLoaded   = 4 // the interface is in the group
	mafNoReport = 8 // the group is not reported to routers
)

// groupTable6 returns /proc/net/igmp6.
func groupTable6() []byte {
	var b bytes.Buffer
	ids, info := nics()
	for _, id := range ids {
		nic := info[id]
		for _, g := range groupsOf(id, &nic, header.IPv6ProtocolNumber) {
			flags := mafLoaded
			if g.addr == header.IPv6AllNodesMulticastAddress {
				flags |= mafNoReport
			}
			fmt.Fprintf(&b, "%-4d %-15s %x %5d %08X %d\n", id, nic.Name, g.addr.As16(), g.users, flags, 0)
		}
	}
	return b.Bytes()
}
