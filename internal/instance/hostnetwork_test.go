package instance_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/process"
	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/netns/netnstest"
	"github.com/pith-os/pith/internal/network"
	"github.com/pith-os/pith/internal/policy"
)

// place is a network namespace in which programs run, as processes of Linux and as images.
type place struct {
	*netns.Namespace
	t *testing.T
}

func newPlace(t *testing.T, commands ...string) place {
	t.Helper()
	ns, err := netns.Open(netnstest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	p := place{ns, t}
	for _, c := range commands {
		p.do(c)
	}
	return p
}

// do runs a command in the namespace.
func (p place) do(command string) string {
	p.t.Helper()
	args := strings.Fields(command)
	out, err := netns.Make(p.Namespace, exec.Command(args[0], args[1:]...).CombinedOutput)
	if err != nil {
		p.t.Fatalf("%s: %v, %s", command, err, out)
	}
	return string(out)
}

// form is a way to run the program.
type form struct {
	name  string
	image bool
	net   network.Host
	user  *instance.User
}

var (
	plain   = form{name: "plain"}
	asImage = form{name: "image", image: true}
	// checked has a policy that closes nothing of what the tests reach.
	checked = form{name: "image with a policy", image: true, net: network.Host{Rules: []policy.Rule{deny("203.0.113.0/24"), deny("127.9.9.9")}}}
)

func deny(s string) policy.Rule {
	r, err := policy.ParseRule(s)
	if err != nil {
		panic(err)
	}
	r.Name = policy.FlagDeny
	return r
}

// run runs the program in the namespace until it ends, and returns what it prints.
func (p place) run(f form, args ...string) string {
	p.t.Helper()
	_, wait := p.start(f, "", args...)
	return wait()
}

// start starts the program and waits until it prints a text. The returned functions stop
// it, and wait for its end.
func (p place) start(f form, text string, args ...string) (stop func(), wait func() string) {
	p.t.Helper()
	out, err := os.CreateTemp(p.t.TempDir(), "out")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { out.Close() })
	printed := func() string {
		b, err := os.ReadFile(out.Name())
		if err != nil {
			p.t.Error(err)
		}
		return string(b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	if f.image {
		name, err := lab.Image(ctx, harness.Program{Package: "./testdata/peer"})
		if err != nil {
			p.t.Fatal(err)
		}
		file, err := os.Open(name)
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { file.Close() })
		hostname, err := os.Hostname()
		if err != nil {
			p.t.Fatal(err)
		}
		i, err := instance.Start(ctx, &instance.Spec{
			Monitor: process.Monitor{}, Image: file, Args: append([]string{"peer"}, args...), Memory: 64 << 20, CPUs: 2, Hostname: hostname,
			Stdout: out, Stderr: out, Network: f.net, Namespace: p.Namespace, User: f.user, Log: p.t.Logf,
		})
		if err != nil {
			cancel()
			p.t.Fatal(err)
		}
		go func() {
			code, err := i.Wait()
			if err == nil && code != 0 {
				err = fmt.Errorf("exit code %d", code)
			}
			ended <- err
		}()
	} else {
		name, err := lab.Plain(ctx, harness.Program{Package: "./testdata/peer"})
		if err != nil {
			p.t.Fatal(err)
		}
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdout, cmd.Stderr = out, out
		if _, err := netns.Make(p.Namespace, func() (struct{}, error) { return struct{}{}, cmd.Start() }); err != nil {
			p.t.Fatal(err)
		}
		go func() { ended <- cmd.Wait() }()
	}
	var last error
	over := false
	finish := func() {
		if !over {
			last, over = <-ended, true
		}
	}
	stop = func() { cancel(); finish() }
	p.t.Cleanup(stop)
	for deadline := time.Now().Add(harness.Timeout); text != "" && !strings.Contains(printed(), text); {
		select {
		case last = <-ended:
			over = true
			p.t.Fatalf("%s %q has ended: %v, %q", f.name, args, last, printed())
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s %q does not print %q: %q", f.name, args, text, printed())
		}
	}
	return stop, func() string {
		timer := time.AfterFunc(harness.Timeout, cancel)
		defer timer.Stop()
		finish()
		if last != nil {
			return printed() + last.Error()
		}
		return printed()
	}
}

// same compares what an image prints with what the plain program does.
func (p place) same(f form, args ...string) {
	p.t.Helper()
	want := p.run(plain, args...)
	if got := p.run(f, args...); got != want {
		p.t.Errorf("%s %q prints\n%s\nthe plain program\n%s", f.name, args, got, want)
	}
}

func TestProgramsReachEachOtherInTheNetworkOfTheHost(t *testing.T) {
	p := newPlace(t, "ip addr add 192.0.2.1/24 dev lo", "ip addr add 2001:db8::1/64 dev lo nodad")
	addrs := []string{"127.0.0.1", "127.0.0.6", "[::1]", "192.0.2.1", "[2001:db8::1]"}
	for _, server := range []form{plain, asImage, checked} {
		t.Run("server "+server.name, func(t *testing.T) {
			p := place{p.Namespace, t}
			p.start(server, "ready", "serve", ":8088")
			to := []string{}
			for _, a := range addrs {
				to = append(to, a+":8088")
			}
			want := p.run(plain, append([]string{"dial"}, to...)...)
			for _, a := range []string{"tcp 127.0.0.6:8088: ", "from 127.0.0.1 to 127.0.0.6", "udp [2001:db8::1]:8088: ", "unconnected 192.0.2.1:8088: hello from 192.0.2.1 to"} {
				if !strings.Contains(want, a) {
					t.Errorf("the plain program prints %q, without %q", want, a)
				}
			}
			for _, client := range []form{asImage, checked} {
				if got := p.run(client, append([]string{"dial"}, to...)...); got != want {
					t.Errorf("%s prints\n%s\nthe plain program\n%s", client.name, got, want)
				}
			}
			if got := p.run(asImage, "many", "127.0.0.1:8088"); got != "all 300\n" {
				t.Error(got)
			}
			// The port is taken for all others.
			for _, other := range []form{plain, asImage} {
				got := p.run(other, "twice", "127.0.0.1:8088")
				if n := strings.Count(got, "address already in use"); n != 4 {
					t.Errorf("%s takes a port that is taken: %s", other.name, got)
				}
			}
		})
	}
}

func TestWhatAProgramSeesOfTheNetworkOfTheHost(t *testing.T) {
	p := newPlace(t, "ip link add veth0 type veth peer name veth1", "ip link set veth0 up", "ip link set veth1 up",
		"ip addr add 192.0.2.1/24 dev veth0", "ip addr add 2001:db8::1/64 dev veth0 nodad", "ip route add default via 192.0.2.9")
	for deadline := time.Now().Add(time.Minute); strings.Contains(p.do("ip -6 addr show tentative"), "inet6"); {
		if time.Now().After(deadline) {
			t.Fatal("an address stays tentative")
		}
	}
	for _, f := range []form{asImage, checked} {
		for _, command := range []string{"twice", "interfaces", "options", "multicast"} {
			t.Run(f.name+" "+command, func(t *testing.T) {
				place{p.Namespace, t}.same(f, command, "127.0.0.1:8077")
			})
		}
	}
	for i := range 200 {
		p.do(fmt.Sprintf("ip addr add 198.51.100.%d/32 dev veth0", i+1))
	}
	t.Run("many addresses", func(t *testing.T) { place{p.Namespace, t}.same(asImage, "interfaces") })
	_, wait := p.start(asImage, "ready", "watch")
	p.do("ip addr add 203.0.113.77/32 dev veth0")
	if got := wait(); got != "ready\nnew 203.0.113.77\n" {
		t.Errorf("the program sees %q of a new address", got)
	}
}

func TestAPolicyInTheNetworkOfTheHost(t *testing.T) {
	p := newPlace(t, "ip addr add 192.0.2.1/24 dev lo")
	p.start(plain, "ready", "serve", ":8088")
	f := form{name: "image", image: true, net: network.Host{Rules: []policy.Rule{deny("127.0.0.0/8"), deny("::1")}}}
	got := p.run(f, "dial", "127.0.0.1:8088", "0.0.0.0:8088", "[::1]:8088", "[::ffff:127.0.0.1]:8088")
	if n := strings.Count(got, "connection refused"); n != 12 || strings.Contains(got, "hello") {
		t.Errorf("closed addresses: %s", got)
	}
	if got := p.run(f, "dial", "192.0.2.1:8088"); strings.Count(got, "hello") != 3 {
		t.Errorf("an open address: %s", got)
	}
	if got, want := p.run(f, "send", "127.0.0.1:9", "192.0.2.1:9", "198.51.100.1:9"), "127.0.0.1:9 true false\n192.0.2.1:9 false true\n198.51.100.1:9 false false\ntoo long: true\n"; got != want {
		t.Errorf("sending prints %q, want %q", got, want)
	}
}

func TestFirewallsInTheNetworkOfTheHost(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed: apt-get install nftables")
	}
	p := newPlace(t, "ip addr add 192.0.2.1/24 dev lo", "ip route add local 198.51.100.0/24 dev lo",
		"ip route add default dev lo", "ip rule add fwmark 1 lookup 100", "ip route add local 0.0.0.0/0 dev lo table 100")
	p.nft(`table ip t {
		chain out { type nat hook output priority -100; meta skuid 1234 ip daddr 203.0.113.5 tcp dport 80 redirect to :8088; }
		chain filter { type filter hook output priority 0; meta skuid 1234 tcp dport 7777 reject with tcp reset; }
		chain divert { type route hook output priority -150; ip daddr 198.51.100.7 tcp dport 443 meta mark set 1; }
		chain pre { type filter hook prerouting priority -150; ip daddr 198.51.100.7 tcp dport 443 tproxy to :8089 meta mark set 1 accept; }
	}`)
	for _, server := range []form{plain, asImage} {
		t.Run("server "+server.name, func(t *testing.T) {
			p := place{p.Namespace, t}
			p.start(server, "ready", "serve", "0.0.0.0:8088", "redirect")
			p.start(server, "ready", "serve", "0.0.0.0:8089", "transparent")
			client := form{name: "image", image: true, user: &instance.User{UID: 1234, GID: 1234}}
			if got := p.run(client, "tcp", "203.0.113.5:80"); !strings.Contains(got, "to 203.0.113.5:80") || !strings.Contains(got, "hello") {
				t.Errorf("a redirected connection: %s", got)
			}
			if got := p.run(client, "tcp", "198.51.100.7:443"); !strings.Contains(got, `to 198.51.100.7:443\nhello`) {
				t.Errorf("through a transparent proxy: %s", got)
			}
			p.start(server, "ready", "serve", "0.0.0.0:7777")
			if got := p.run(client, "tcp", "127.0.0.1:7777"); !strings.Contains(got, "tcp 127.0.0.1:7777: connection refused") {
				t.Errorf("a rule for the owner: %s", got)
			}
			if got := p.run(asImage, "tcp", "127.0.0.1:7777"); strings.Contains(got, "refused") {
				t.Errorf("a rule for another owner: %s", got)
			}
		})
	}
}

// nft loads a ruleset in the namespace.
func (p place) nft(rules string) {
	p.t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = bytes.NewBufferString(rules)
	if out, err := netns.Make(p.Namespace, cmd.CombinedOutput); err != nil {
		p.t.Fatalf("nft: %v, %s", err, out)
	}
}
