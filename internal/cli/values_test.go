package cli

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSizes(t *testing.T) {
	for _, test := range []struct {
		in   string
		want uint64 // 0: refused
	}{
		{"64M", 64 << 20}, {"64m", 64 << 20}, {"1G", 1 << 30}, {"512MiB", 512 << 20}, {"2kb", 2048},
		{"1048576", 1 << 20}, {"7B", 7},
		{"", 0}, {"M", 0}, {"-1M", 0}, {"1.5G", 0}, {"1X", 0}, {"1MM", 0}, {"99999999T", 0}, {"1i", 0},
	} {
		got, err := parseSize(test.in)
		if got != test.want || (err != nil) != (test.want == 0) {
			t.Errorf("%q: %d, %v", test.in, got, err)
		}
	}
}

func TestPorts(t *testing.T) {
	any := netip.Addr{}
	for _, test := range []struct {
		in    string
		host  netip.AddrPort
		guest uint16 // 0: refused
		udp   bool
	}{
		{"8080:80", netip.AddrPortFrom(any, 8080), 80, false},
		{"8080:80/tcp", netip.AddrPortFrom(any, 8080), 80, false},
		{"53:5353/udp", netip.AddrPortFrom(any, 53), 5353, true},
		{"127.0.0.1:1:2", netip.MustParseAddrPort("127.0.0.1:1"), 2, false},
		{"[::1]:1:2/udp", netip.MustParseAddrPort("[::1]:1"), 2, true},
		{in: ""}, {in: "80"}, {in: "a:b"}, {in: "0:80"}, {in: "80:0"}, {in: "65536:80"},
		{in: "1:2/sctp"}, {in: "host:1:2"}, {in: "1:2:3"}, {in: ":80"}, {in: "-1:80"},
	} {
		p, err := parsePort(test.in)
		if test.guest == 0 {
			if err == nil {
				t.Errorf("%q was read as %+v", test.in, p)
			}
			continue
		}
		if err != nil || p.host != test.host || p.guest != test.guest || p.udp != test.udp {
			t.Errorf("%q: %+v, %v", test.in, p, err)
		}
	}
	if _, err := parsePorts([]string{"1:80", "2:80/udp"}); err != nil {
		t.Errorf("the same number in TCP and UDP: %v", err)
	}
	if _, err := parsePorts([]string{"1:80", "2:80"}); err == nil {
		t.Error("a port of the program was published twice")
	}
}

func TestEnvironmentIsWhatWasGiven(t *testing.T) {
	t.Setenv("FROM_HOST", "here")
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# comment\n\nA=file\nB=x y=z\nFROM_HOST\nNOT_SET_ANYWHERE\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runFlags{
		instanceFlags: instanceFlags{deviceFlags: deviceFlags{net: "none"}, memory: "100M", monitor: "auto", hostname: "h"},
		env:           []string{"A=flag", "HOME=/h"}, envFiles: []string{file},
	}
	p, err := r.check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := mergeEnv(p.defaultEnv(), []string{"A=image", "C=image"}, p.Env)
	slices.Sort(got)
	want := []string{
		"A=flag", "B=x y=z", "C=image", "FROM_HOST=here", "HOME=/h", "HOSTNAME=h",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n%q, want\n%q", got, want)
	}
}

func TestProgramNames(t *testing.T) {
	for pkg, want := range map[string]string{
		"example.com/cmd/web": "web", "example.com/tool/v2": "tool", "example.com/v1": "v1", "command-line-arguments": "command-line-arguments", "v2": "v2",
	} {
		if got := programName(pkg); got != want {
			t.Errorf("%s: %s, want %s", pkg, got, want)
		}
	}
}
