package instance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/netns/netnstest"
	"github.com/pith-os/pith/internal/network"
	"github.com/pith-os/pith/internal/policy"
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// lab builds the program of the tests.
var lab *harness.Lab

func TestMain(m *testing.M) {
	monitor.Child()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	var err error
	if lab, err = harness.NewLab(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer lab.Close()
	return m.Run()
}

// onEach runs a test on each kind of instance that this host can run.
func onEach(t *testing.T, test func(t *testing.T, spec func(args ...string) *instance.Spec)) {
	for _, m := range monitor.All() {
		d := m.Describe()
		types := d.MachineTypes
		if len(types) == 0 {
			types = []string{""}
		}
		for _, machine := range types {
			t.Run(d.Name+machine, func(t *testing.T) {
				if _, err := m.Ready(t.Context()); err != nil {
					t.Skip(err)
				}
				test(t, func(args ...string) *instance.Spec {
					name, err := lab.Image(t.Context(), harness.Program{Package: "./testdata/program"})
					if err != nil {
						t.Fatal(err)
					}
					image, err := os.Open(name)
					if err != nil {
						t.Fatal(err)
					}
					out, err := os.Create(filepath.Join(t.TempDir(), "out"))
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() {
						image.Close()
						out.Close()
					})
					return &instance.Spec{
						Monitor: m, Image: image, Args: append([]string{"program"}, args...), Memory: 64 << 20, CPUs: 1,
						Stdout: out, Stderr: out, Machine: instance.Machine{Type: machine},
					}
				})
			})
		}
	}
}

// start starts an instance. At the end of the test, the instance is killed if it still runs.
func start(t *testing.T, s *instance.Spec) *instance.Instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	i, err := instance.Start(ctx, s)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_, _ = i.Wait()
	})
	return i
}

func output(t *testing.T, s *instance.Spec) string {
	t.Helper()
	b, err := os.ReadFile(s.Stdout.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// await waits until the instance has written the given text.
func await(t *testing.T, i *instance.Instance, s *instance.Spec, text string) {
	t.Helper()
	deadline := time.After(harness.Timeout)
	for !strings.Contains(output(t, s), text) {
		select {
		case <-i.Done():
			t.Fatalf("the instance has ended: %+v, %q", i.State(), output(t, s))
		case <-deadline:
			t.Fatalf("no %q in %q", text, output(t, s))
		case <-time.After(time.Millisecond):
		}
	}
}

func TestLifeOfAnInstance(t *testing.T) {
	onEach(t, func(t *testing.T, spec func(...string) *instance.Spec) {
		before := time.Now()
		s := spec("work")
		i := start(t, s)
		await(t, i, s, "ready")
		state := i.State()
		if state.Status != instance.StatusRunning || state.Started.Before(before) || !state.Ended.IsZero() || state.ExitCode != 0 {
			t.Errorf("state while it runs: %+v", state)
		}
		stats, err := i.Stats()
		if err != nil || len(stats.Processes) != 1 || stats.Memory < 1<<20 || stats.CPU < 20*time.Millisecond ||
			stats.Started != state.Started || !stats.Ended.IsZero() {
			t.Errorf("statistics while it runs: %+v, %v", stats, err)
		}
		for _, pid := range stats.Processes {
			if err := unix.Kill(pid, 0); err != nil {
				t.Errorf("process %d: %v", pid, err)
			}
		}
		code, err := i.Stop(t.Context(), harness.Timeout)
		if err != nil || code != 5 {
			t.Errorf("stopped with %d, %v", code, err)
		}
		if again, err := i.Wait(); again != code || err != nil {
			t.Errorf("second Wait: %d, %v", again, err)
		}
		state = i.State()
		if state.Status != instance.StatusExited || state.ExitCode != 5 || state.Err != nil || state.Ended.Before(state.Started) {
			t.Errorf("state at the end: %+v", state)
		}
		last, err := i.Stats()
		if err != nil || len(last.Processes) != 0 || last.Memory != 0 || last.CPU < stats.CPU || last.Ended != state.Ended {
			t.Errorf("statistics at the end: %+v, %v; the CPU time before was %v", last, err, stats.CPU)
		}
		if err := i.Signal(unix.SIGTERM); !errors.Is(err, instance.ErrEnded) {
			t.Errorf("a signal after the end: %v", err)
		}
		if code, err := i.Stop(t.Context(), 0); code != 5 || err != nil {
			t.Errorf("stopped after the end: %d, %v", code, err)
		}
	})
}

func TestStopKillsWhenTheGraceTimeIsOver(t *testing.T) {
	onEach(t, func(t *testing.T, spec func(...string) *instance.Spec) {
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for ctx, grace := range map[context.Context]time.Duration{t.Context(): 50 * time.Millisecond, done: time.Hour} {
			s := spec("stubborn")
			i := start(t, s)
			await(t, i, s, "ready")
			if code, err := i.Stop(ctx, grace); err != nil || code != boot.ExitSignal(int(unix.SIGKILL)) {
				t.Errorf("with %v: %d, %v", grace, code, err)
			}
		}
	})
}

// greeting connects and reads until the end of the stream.
func greeting(t *testing.T, addr string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// listener returns a listening socket that belongs to the test, and its address.
func listener(t *testing.T) (socket int, addr string) {
	t.Helper()
	socket, err := instance.Bind(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Close(socket); err != nil { // only the test may close it
			t.Error(err)
		}
	})
	sa, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return socket, fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

func TestListenerOutlivesItsInstances(t *testing.T) {
	onEach(t, func(t *testing.T, spec func(...string) *instance.Spec) {
		socket, addr := listener(t)
		if err := unix.Listen(socket, 16); err != nil {
			t.Fatal(err)
		}
		var waiting net.Conn
		for n, name := range []string{"first", "second"} {
			s := spec("serve", name)
			s.Network, s.Ports = network.User{Policy: policy.Options{HostLoopback: true}}, []instance.Port{{Number: 80, Socket: socket}}
			i := start(t, s)
			await(t, i, s, "ready")
			if waiting != nil { // the second instance serves clients that came before it
				b, err := io.ReadAll(waiting)
				waiting.Close()
				if string(b) != name || err != nil {
					t.Errorf("the waiting client got %q, %v", b, err)
				}
			}
			if got := greeting(t, addr); got != name {
				t.Errorf("%q, want %q", got, name)
			}
			if code, err := i.Stop(t.Context(), harness.Timeout); code != 5 || err != nil {
				t.Errorf("%d, %v", code, err)
			}
			if n == 0 {
				var err error
				if waiting, err = net.Dial("tcp", addr); err != nil {
					t.Fatalf("between two instances: %v", err)
				}
			}
		}
	})
}

func TestSocketThatIsOnlyBoundListensWhileTheProgramDoes(t *testing.T) {
	onEach(t, func(t *testing.T, spec func(...string) *instance.Spec) {
		socket, addr := listener(t)
		if c, err := net.Dial("tcp", addr); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("%v, %v", c, err)
		}
		s := spec("serve", "hello")
		s.Network, s.Ports = network.User{Policy: policy.Options{HostLoopback: true}}, []instance.Port{{Number: 80, Socket: socket}}
		i := start(t, s)
		await(t, i, s, "ready")
		if got := greeting(t, addr); got != "hello" {
			t.Errorf("%q", got)
		}
	})
}

// mortal is a user-mode network that fails when end is closed.
type mortal struct {
	*gateway.Gateway
	end chan struct{}
}

func (mortal) Needs() []instance.Part { return nil }

func (m mortal) Open(*instance.Launch) (*instance.Plug, error) {
	return &instance.Plug{Network: m, Card: m.Guest(), Close: m.Close}, nil
}

func (m mortal) Serve(ctx context.Context, l link.Link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-m.end
		cancel()
	}()
	return errors.Join(m.Gateway.Serve(ctx, l), errors.New("the cable is cut"))
}

func TestNetworkThatDiesIsAnErrorOfTheProgramsConnections(t *testing.T) {
	onEach(t, func(t *testing.T, spec func(...string) *instance.Spec) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		g, err := gateway.New(gateway.Config{Reach: policy.Options{HostLoopback: true}})
		if err != nil {
			t.Fatal(err)
		}
		m := mortal{g, make(chan struct{})}
		s := spec("network", fmt.Sprintf("10.0.2.2:%d", l.Addr().(*net.TCPAddr).Port))
		s.Network = m
		i := start(t, s)
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		await(t, i, s, "connected")
		close(m.end)
		select {
		case <-i.Done():
		case <-time.After(harness.Timeout):
			t.Fatalf("the program goes on: %q", output(t, s))
		}
		code, err := i.Wait()
		said := output(t, s)
		if err != nil || code != 3 || !strings.Contains(said, fmt.Sprintf("\nerrno %d\n", linux.ENETDOWN)) ||
			!strings.Contains(said, "pith: the network ended: the cable is cut\n") {
			t.Errorf("exit code %d, %v, %q", code, err, said)
		}
	})
}

func TestNetworkWorksInANamespaceOfTheHost(t *testing.T) {
	ns, err := netns.Open(netnstest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	onEach(t, func(t *testing.T, spec func(...string) *instance.Spec) {
		l, err := netns.Make(ns, func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		peer := fmt.Sprintf("10.0.2.2:%d", l.Addr().(*net.TCPAddr).Port)

		s := spec("network", peer)
		s.Network = network.User{Policy: policy.Options{HostLoopback: true}}
		if code, err := start(t, s).Wait(); code != 3 || err != nil || !strings.Contains(output(t, s), "refused") {
			t.Errorf("from the caller's namespace: %d, %v, %q", code, err, output(t, s))
		}

		s = spec("network", peer)
		s.Network, s.Namespace = network.User{Policy: policy.Options{HostLoopback: true}}, ns
		i := start(t, s)
		if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		await(t, i, s, "connected")
		c.Close()
		if code, err := i.Wait(); code != 0 || err != nil {
			t.Errorf("from the namespace: %d, %v, %q", code, err, output(t, s))
		}
	})
}
