package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestFirstMatchingRuleDecides(t *testing.T) {
	p, err := ParsePolicy(`
		forward tcp 80 to 10.0.2.2:8000   # one
		forward udp 53 to [fd00::2]:53
		deny from 192.0.2.0/24,2001:db8::1
		allow tcp port 80 rate 2/s
		deny tcp log
		allow udp from 10.0.0.0/8 port 53
	`)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(0, 0)
	for n, tc := range []struct {
		proto Proto
		from  string
		port  uint16
		after time.Duration
		want  bool
	}{
		{TCP, "192.0.2.9:1", 80, 0, false},
		{TCP, "[2001:db8::1]:1", 80, 0, false},
		{TCP, "[::ffff:192.0.2.9]:1", 80, 0, false},
		{TCP, "198.51.100.1:1", 81, 0, false},
		{TCP, "198.51.100.1:1", 80, 0, true},
		{TCP, "198.51.100.1:2", 80, 0, true},
		{TCP, "198.51.100.1:3", 80, 0, false}, // over its rate
		{TCP, "198.51.100.2:3", 80, 0, true},  // another source has a rate of its own
		{TCP, "198.51.100.1:4", 80, time.Second / 2, true},
		{TCP, "198.51.100.1:5", 80, time.Second / 2, false},
		{UDP, "10.1.2.3:9", 53, 0, true},
		{UDP, "11.1.2.3:9", 53, 0, false}, // no rule matches
	} {
		f := Flow{tc.proto, netip.MustParseAddrPort(tc.from), tc.port}
		if got := p.Admit(f, start.Add(tc.after)); got != tc.want {
			t.Errorf("%d: Admit(%v) is %v", n, f, got)
		}
	}
	if p.Defaulted.Load() != 1 {
		t.Errorf("%d flows matched no rule, want 1", p.Defaulted.Load())
	}
}

func TestErrorsHaveLineNumbers(t *testing.T) {
	const forward = "forward tcp 80 to a:1\n"
	for text, want := range map[string]string{
		"":                                "no forward statement",
		"forward tcp 80 a:1":              "1: forward: want",
		"forward icmp 80 to a:1":          "neither tcp nor udp",
		"forward tcp 0 to a:1":            "not a port",
		"forward tcp 80 to a":             "missing port",
		forward + "block all":             `2: unknown statement "block"`,
		forward + "allow from":            "2: from: the value is missing",
		forward + "allow from 1.2.3":      "neither an address",
		forward + "allow port http":       "not a port",
		forward + "allow rate 5/h":        "not a rate",
		forward + "allow quickly":         `unknown keyword "quickly"`,
		forward + "\n# c\ndeny port 1 to": `4: unknown keyword "to"`,
	} {
		if _, err := ParsePolicy(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestLimiterForgetsIdleSources(t *testing.T) {
	l := NewLimiter(1, time.Second)
	addr := netip.MustParseAddr("10.0.0.0")
	now := time.Unix(0, 0)
	for range maxSources {
		addr = addr.Next()
		if !l.Allow(addr, now) {
			t.Fatal("Allow denies a new source")
		}
	}
	if l.Allow(addr.Next(), now) {
		t.Error("Allow accepts another source with a full table")
	}
	if !l.Allow(addr.Next(), now.Add(time.Second)) || len(l.buckets) != 1 {
		t.Errorf("%d sources are left after an idle period, want 1", len(l.buckets))
	}
}
