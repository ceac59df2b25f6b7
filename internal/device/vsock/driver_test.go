package vsock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	driver "github.com/pith-os/pith/libos/virtio/vsock"

	"golang.org/x/sys/unix"
)

func TestConcurrentTransferBothWays(t *testing.T) {
	guest, b := pair(t)
	var all sync.WaitGroup
	for name, e := range both(t, guest, b) {
		for i, way := range []struct{ from, to end }{{e.guest, e.host}, {e.host, e.guest}} {
			data := make([]byte, 3<<20+i)
			rand.NewChaCha8([32]byte{byte(i)}).Read(data)
			all.Go(func() {
				if _, err := way.from.Write(data); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := way.from.CloseWrite(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			all.Go(func() {
				got, err := io.ReadAll(bufio.NewReaderSize(way.to, 50_000))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, direction %d: %d bytes of %d, or other data: %v", name, i, len(got), len(data), err)
				}
			})
		}
	}
	all.Wait()
}

func TestHalfClose(t *testing.T) {
	for _, name := range []string{"the guest", "the host"} {
		t.Run(name+" closes", func(t *testing.T) {
			guest, b := pair(t)
			for from, e := range both(t, guest, b) {
				first, second := e.guest, e.host
				if name == "the host" {
					first, second = second, first
				}
				if err := first.CloseWrite(); err != nil {
					t.Fatal(from, err)
				}
				if got, err := io.ReadAll(second); err != nil || len(got) != 0 {
					t.Errorf("%s: %q, %v", from, got, err)
				}
				if _, err := second.Write([]byte("an answer")); err != nil {
					t.Errorf("%s: %v", from, err)
				}
				if err := second.Close(); err != nil {
					t.Error(from, err)
				}
				if got, err := io.ReadAll(first); err != nil || string(got) != "an answer" {
					t.Errorf("%s: %q, %v", from, got, err)
				}
			}
		})
	}
}

func TestHostCloses(t *testing.T) {
	guest, b := pair(t)
	for name, e := range both(t, guest, b) {
		if _, err := e.host.Write([]byte("the last words")); err != nil {
			t.Error(name, err)
		}
		e.host.Close()
		if got, err := io.ReadAll(e.guest); err != nil || string(got) != "the last words" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		devicetest.Eventually(t, "a write that fails", func() bool {
			_, err := e.guest.Write([]byte("x"))
			return errors.Is(err, errReset)
		})
	}
}

func TestGuestCloses(t *testing.T) {
	guest, b := pair(t)
	for name, e := range both(t, guest, b) {
		data := make([]byte, 300_000) // more than the host's socket takes at once
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := e.guest.Write(data); err != nil {
				t.Error(name, err)
			}
			e.guest.Close()
		})
		all.Go(func() {
			if got, err := io.ReadAll(e.host); err != nil || len(got) != len(data) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
			devicetest.Eventually(t, "a write that fails", func() bool {
				_, err := e.host.Write([]byte("x"))
				return errors.Is(err, unix.EPIPE)
			})
		})
		all.Wait()
	}
}

// TestSlowReaderBlocksNoOtherConnection does not read one of two connections on
// the host.
func TestSlowReaderBlocksNoOtherConnection(t *testing.T) {
	guest, b := pair(t)
	e := both(t, guest, b)
	slow, other := e["from the host"], e["from the guest"]
	data := make([]byte, 2<<20)
	rand.NewChaCha8([32]byte{}).Read(data)
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := slow.guest.Write(data); err != nil {
			t.Error(err)
		}
	})
	for range 200 {
		if _, err := other.guest.Write(data[:5000]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other.host, make([]byte, 5000)); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(slow.host, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other bytes, or %v", err)
	}
	all.Wait()
	// The other direction: the guest does not read.
	all.Go(func() {
		if _, err := slow.host.Write(data); err != nil {
			t.Error(err)
		}
	})
	for range 200 {
		if _, err := other.host.Write(data[:5000]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(other.guest, make([]byte, 5000)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.ReadFull(slow.guest, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other bytes, or %v", err)
	}
	all.Wait()
}

func TestConnectLine(t *testing.T) {
	guest, b := pair(t)
	l := listen(t, guest, 77)
	for _, test := range []struct {
		name string
		line string
		want string // data that arrive in the guest
		ok   bool
	}{
		{"a port that listens", "CONNECT 77\n", "", true},
		{"followed by data", "CONNECT 77\nsome data\nmore", "some data\nmore", true},
		{"a port that does not listen", "CONNECT 78\n", "", false},
		{"the largest port", "CONNECT 4294967295\n", "", false},
		{"an invalid port", "CONNECT 4294967296\n", "", false},
		{"a long line", "CONNECT 00000000000000000077\n", "", false},
		{"no number", "CONNECT \n", "", false},
		{"a negative number", "CONNECT -1\n", "", false},
		{"another word", "connect 77\n", "", false},
		{"an empty line", "\n", "", false},
	} {
		c := dialLine(t, b, test.line)
		line, err := readLine(c)
		if !test.ok {
			if err == nil || line != "" {
				t.Errorf("%s: %q, %v", test.name, line, err)
			}
			continue
		}
		var port uint32
		if n, err := fmt.Sscanf(line, "OK %d", &port); n != 1 || err != nil || port < firstPort {
			t.Errorf("%s: %q, %v", test.name, line, err)
		}
		s := accept(t, l)
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(s); err != nil || string(got) != test.want {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
		var peer linux.SockaddrVM
		if sa, errno := s.s.PeerAddr(); errno != 0 {
			t.Error(errno.Name())
		} else if peer, _ = socket.Get[linux.SockaddrVM](sa); peer.CID != linux.VMADDR_CID_HOST || peer.Port != port {
			t.Errorf("%s: the peer is %d:%d, the host got port %d", test.name, peer.CID, peer.Port, port)
		}
		s.Close()
	}
	// A CONNECT line in two pieces, and one that never ends.
	c := dialLine(t, b, "CONN")
	time.Sleep(10 * time.Millisecond)
	io.WriteString(c, "ECT 77\n")
	if line, err := readLine(c); err != nil || !strings.HasPrefix(line, "OK ") {
		t.Errorf("%q, %v", line, err)
	}
	dialLine(t, b, "CONN").Close()
}

func TestGuestIsRefused(t *testing.T) {
	guest, b := pair(t)
	stale := service(t, b, 8)
	stale.SetUnlinkOnClose(false)
	stale.Close()
	if err := os.WriteFile(b.path+"_9", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint32{7, 8, 9, 1<<32 - 2} {
		if _, errno := connect(t, guest, port); errno != linux.ECONNRESET {
			t.Errorf("port %d: %s", port, errno.Name())
		}
	}
	if _, errno := connect(t, guest, 7); errno != linux.ECONNRESET {
		t.Errorf("second connect to port 7: %s", errno.Name())
	}
	service(t, b, 7)
	if _, errno := connect(t, guest, 7); errno != 0 {
		t.Errorf("connect to a listening port: %s", errno.Name())
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	guest, b := pair(t)
	l := listen(t, guest, 77)
	var open []*net.UnixConn
	var streams []stream
	for range MaxConnections {
		open = append(open, dialHost(t, b, 77))
		streams = append(streams, accept(t, l))
	}
	if line, err := ask(t, b, "CONNECT 77\n"); err == nil || line != "" {
		t.Errorf("the host opened one connection too many: %q, %v", line, err)
	}
	service(t, b, 7)
	if _, errno := connect(t, guest, 7); errno != linux.ECONNRESET {
		t.Errorf("the guest opened one connection too many: %s", errno.Name())
	}
	// A closed connection makes room. The guest closes its end too.
	open[0].Close()
	streams[0].Close()
	devicetest.Eventually(t, "room for one more", func() bool {
		line, err := ask(t, b, "CONNECT 77\n")
		return err == nil && strings.HasPrefix(line, "OK ")
	})
}

// TestAcceptWithoutFreeDescriptors uses up the file descriptors of the process.
func TestAcceptWithoutFreeDescriptors(t *testing.T) {
	guest, b := pair(t)
	l := listen(t, guest, 77)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(next)
	limit(uint64(next))
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: b.path})
	time.Sleep(20 * time.Millisecond) // time for a failed accept
	limit(old.Cur)
	f := os.NewFile(uintptr(fd), "host")
	defer f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "CONNECT 77\n"); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("OK 1073741825\n"))
	if _, err := io.ReadFull(f, line); err != nil || !strings.HasPrefix(string(line), "OK ") {
		t.Errorf("%q, %v", line, err)
	}
	accept(t, l)
}

func TestBrokerThatIsGone(t *testing.T) {
	guest, b := pair(t)
	e := both(t, guest, b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, errno := connect(t, guest, 99); errno != linux.ECONNRESET {
			t.Error(errno.Name())
		}
	}
	for name, e := range e {
		if _, err := e.guest.Write([]byte("still there")); err != nil {
			t.Error(name, err)
		}
		if _, err := io.ReadFull(e.host, make([]byte, 11)); err != nil {
			t.Error(name, err)
		}
	}
}

func TestResetEndsConnections(t *testing.T) {
	b := host(t)
	d := newDevice(t, devicetest.Memory(t, 16<<20), b)
	for range 3 {
		x := devicetest.Attach(t, d)
		guest, errno := driver.Open(x)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		l := listen(t, guest, 77)
		c := dialHost(t, b, 77)
		accept(t, l)
		x.Shutdown()
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
	}
	c := dialLine(t, b, "CONNECT 77\n") // waits for a driver
	x := devicetest.Attach(t, d)
	if _, errno := driver.Open(x); errno != 0 {
		t.Fatal(errno.Name())
	}
	if line, err := readLine(c); err == nil || line != "" {
		t.Errorf("%q, %v", line, err)
	}
}
