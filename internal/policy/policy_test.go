package policy

import (
	"errors"
	"net/netip"
	"testing"
)

func rules(t *testing.T, list ...string) []Rule {
	t.Helper()
	var out []Rule
	for _, s := range list {
		r, err := ParseRule(s[1:])
		if err != nil {
			t.Fatal(err)
		}
		r.Allow, r.Name = s[0] == '+', s
		out = append(out, r)
	}
	return out
}

func TestTheMostSpecificRuleDecides(t *testing.T) {
	for _, c := range []struct {
		rules []string
		addr  string
		port  uint16
		want  string // name of the rule that denies; empty: allowed
	}{
		{nil, "1.2.3.4", 80, ""},
		{[]string{"+10.0.0.0/8"}, "1.2.3.4", 80, ""}, // --allow alone closes nothing
		{[]string{"-10.0.0.0/8"}, "10.1.2.3", 80, "-10.0.0.0/8"},
		{[]string{"-10.0.0.0/8"}, "::ffff:10.1.2.3", 80, "-10.0.0.0/8"},
		{[]string{"-::ffff:10.0.0.0/104"}, "10.1.2.3", 80, "-::ffff:10.0.0.0/104"},
		{[]string{"-10.0.0.0/8"}, "11.1.2.3", 80, ""},
		{[]string{"-0.0.0.0/0", "+10.0.0.0/8"}, "10.1.2.3", 80, ""},
		{[]string{"-0.0.0.0/0", "+10.0.0.0/8"}, "8.8.8.8", 53, "-0.0.0.0/0"},
		{[]string{"+10.0.0.0/8", "-0.0.0.0/0"}, "10.1.2.3", 80, ""}, // the order of flags is nothing
		{[]string{"-0.0.0.0/0"}, "fd00::1", 80, ""},                 // the other family
		{[]string{"-10.0.0.0/8", "+10.0.0.0/8:443"}, "10.1.2.3", 443, ""},
		{[]string{"-10.0.0.0/8", "+10.0.0.0/8:443"}, "10.1.2.3", 80, "-10.0.0.0/8"},
		{[]string{"-10.0.0.0/8", "+10.0.0.0/8:443"}, "10.1.2.3", 0, "-10.0.0.0/8"},
		{[]string{"+10.0.0.0/8", "-10.0.0.0/8"}, "10.1.2.3", 80, "-10.0.0.0/8"}, // between equals
		{[]string{"+10.0.0.0/8:80", "-10.0.0.0/8:80"}, "10.1.2.3", 80, "-10.0.0.0/8:80"},
		{[]string{"-10.0.0.0/16:80", "+10.0.0.0/24"}, "10.0.0.1", 80, ""}, // the prefix comes before the port
		{[]string{"-10.2.3.4"}, "64:ff9b::10.2.3.4", 80, "-10.2.3.4"},
		{[]string{"-10.2.3.4"}, "2002:a02:304::1", 80, "-10.2.3.4"},
		{[]string{"-10.2.3.4:80"}, "2002:a02:304::1", 81, ""},
		{[]string{"-fd00::/8:443"}, "fd00::1", 443, "-fd00::/8:443"},
		{[]string{"-fe80::/10"}, "fe80::1%eth0", 443, "-fe80::/10"},
		{nil, "64:ff9b::127.0.0.1", 80, "it stands for 127.0.0.1"},
		{nil, "2002:7f00:1::", 80, "it stands for 127.0.0.1"},
		{nil, "64:ff9b::0.0.0.0", 80, "it stands for 0.0.0.0"},
	} {
		r, err := New(rules(t, c.rules...), nil).Check(netip.MustParseAddr(c.addr), c.port)
		if got := name(r); got != c.want || err != nil {
			t.Errorf("%v, %s port %d: denied by %q, %v, want %q", c.rules, c.addr, c.port, got, err, c.want)
		}
	}
}

func name(r *Rule) string {
	if r == nil {
		return ""
	}
	return r.Name
}

func TestDefaultsAreRulesOfTheSameKind(t *testing.T) {
	gateway := netip.MustParseAddr("10.0.2.2")
	own := netip.MustParseAddr("192.0.2.7")
	clouds := netip.MustParseAddr("169.254.169.254") // as in a namespace that plays a cloud
	local := func(a netip.Addr) (bool, error) { return a == own || a == clouds, nil }
	for _, c := range []struct {
		options Options
		addr    string
		port    uint16
		open    bool
	}{
		{Options{}, "10.0.2.2", 80, false},
		{Options{}, "169.254.169.254", 80, false},
		{Options{}, "fd00:ec2::254", 80, false},
		{Options{}, "169.254.1.1", 80, false},
		{Options{}, "fe80::1", 80, false},
		{Options{}, "192.0.2.7", 80, false},
		{Options{}, "::ffff:192.0.2.7", 80, false},
		{Options{}, "64:ff9b::192.0.2.7", 80, false},
		{Options{}, "2002:a9fe:a9fe::", 80, false},
		{Options{}, "192.0.2.8", 80, true},
		{Options{HostLoopback: true}, "10.0.2.2", 80, true},
		{Options{HostLoopback: true}, "169.254.169.254", 80, false},
		{Options{HostLoopback: true, Rules: rules(t, "-10.0.2.2")}, "10.0.2.2", 80, false},
		{Options{Metadata: true}, "169.254.169.254", 80, true},
		{Options{Metadata: true}, "169.254.169.253", 80, false},
		{Options{Metadata: true, Rules: rules(t, "-169.254.169.254")}, "169.254.169.254", 80, false},
		{Options{Rules: rules(t, "+169.254.169.254")}, "169.254.169.254", 80, false},
		{Options{Metadata: true}, "10.0.2.2", 80, false},
		{Options{Rules: rules(t, "+0.0.0.0/0", "+::/0")}, "10.0.2.2", 80, false},
		{Options{Rules: rules(t, "+0.0.0.0/0", "+::/0")}, "192.0.2.7", 80, false},
		{Options{Rules: rules(t, "+0.0.0.0/0", "+::/0")}, "fe80::1", 80, false},
		{Options{Rules: rules(t, "+10.0.2.2/32:5432")}, "10.0.2.2", 5432, true},
		{Options{Rules: rules(t, "+10.0.2.2/32:5432")}, "10.0.2.2", 5433, false},
		{Options{Rules: rules(t, "+192.0.2.7/32:5432")}, "192.0.2.7", 5432, true},
		{Options{Rules: rules(t, "+192.0.2.7/32:5432")}, "192.0.2.7", 22, false},
		{Options{Rules: rules(t, "+192.0.2.0/24:5432")}, "192.0.2.7", 5432, false},
	} {
		r, err := New(Default(c.options, gateway), local).Check(netip.MustParseAddr(c.addr), c.port)
		if (r == nil) != c.open || err != nil {
			t.Errorf("%+v: %s port %d: denied by %q, %v, want open: %v", c.options, c.addr, c.port, name(r), err, c.open)
		}
	}
}

func TestRulesAreParsed(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "10.0.2.2/32:5432": "10.0.2.2/32:5432",
		"fd00::/8": "fd00::/8", "fd00::/8:443": "fd00::/8:443", "[fd00::]/8:443": "fd00::/8:443",
		"10.1.2.3": "10.1.2.3/32", "10.1.2.3:80": "10.1.2.3/32:80", "[fd00::1]:80": "fd00::1/128:80",
		"fd00::1": "fd00::1/128", "::ffff:10.0.0.0/104": "10.0.0.0/8", "::/0": "::/0",
	} {
		if r, err := ParseRule(in); err != nil || r.String() != want {
			t.Errorf("%q: %v, %v, want %s", in, r, err, want)
		}
	}
	for _, in := range []string{"", "10.0.0.0/33", "10.0.0.0/8:0", "10.0.0.0/8:65536", "10.0.0.0/8:http", "10.0.0.0/8:", "example.com",
		"10.0.0.1:0", "fe80::1%eth0", "fe80::%1/10", "::ffff:0.0.0.0/90", "/8", "10.0.0.0/-1"} {
		if r, err := ParseRule(in); err == nil {
			t.Errorf("%q: no error, %v", in, r)
		}
	}
}

func TestAKernelThatDoesNotAnswerDenies(t *testing.T) {
	p := New(nil, func(netip.Addr) (bool, error) { return false, errors.New("no answer") })
	if r, err := p.Check(netip.MustParseAddr("1.2.3.4"), 80); r == nil || err == nil {
		t.Errorf("%v, %v", r, err)
	}
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8:80", "[fd00::1]:80", "::ffff:10.0.0.0/104"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		if again, err := ParseRule(r.String()); err != nil || again != r || !r.Prefix.IsValid() {
			t.Errorf("%q is %v, which is %v, %v", s, r, again, err)
		}
	})
}
