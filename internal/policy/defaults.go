package policy

import "net/netip"

// Flags that open what is closed by default, and that add rules.
const (
	FlagHostLoopback = "--host-loopback"
	FlagMetadata     = "--metadata"
	FlagAllow        = "--allow"
	FlagDeny         = "--deny"
)

// Options are a user's choices for the policy of an instance.
type Options struct {
	Rules        []Rule // from --allow and --deny
	HostLoopback bool   // opens the addresses that stand for the host's loopback interface
	Metadata     bool   // opens the metadata services of clouds
}

// metadata are the addresses at which clouds serve an instance's metadata and credentials.
var metadata = []string{"169.254.169.254/32", "fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32"}

// Default returns the rules of an instance that the host's network is not for: a closed
// loopback interface, link-local addresses and metadata services, and the options' rules.
// loopback are the addresses that stand for the host's loopback interface.
func Default(o Options, loopback ...netip.Addr) []Rule {
	var rules []Rule
	for _, a := range loopback {
		rules = append(rules, Rule{Prefix: host(a), Allow: o.HostLoopback, Named: o.HostLoopback, Name: "the host's loopback interface is closed without " + FlagHostLoopback})
	}
	for _, s := range metadata {
		rules = append(rules, Rule{Prefix: netip.MustParsePrefix(s), Allow: o.Metadata, Named: o.Metadata, Name: "metadata services are closed without " + FlagMetadata})
	}
	for _, s := range []string{"169.254.0.0/16", "fe80::/10"} {
		rules = append(rules, Rule{Prefix: netip.MustParsePrefix(s), Name: "link-local addresses are closed by default"})
	}
	return append(rules, o.Rules...)
}
