package vsock

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "guest")
	for _, test := range []struct {
		name string
		make func() error
		path string
		want string // part of the error; empty: Listen succeeds
	}{
		{"nothing is there", func() error { return nil }, path, ""},
		{"a stale socket", func() error {
			l, err := net.Listen("unix", path)
			if err != nil {
				return err
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			return l.Close()
		}, path, ""},
		{"a file", func() error { return os.WriteFile(path, nil, 0o600) }, path, "other than a socket"},
		{"a link to a socket", func() error { return errors.Join(os.Remove(path), os.Symlink("none", path)) }, path, "other than a socket"},
		{"a missing directory", func() error { return nil }, filepath.Join(dir, "none", "guest"), "no such file"},
		{"a name that is too long", func() error { return nil }, filepath.Join(dir, strings.Repeat("x", 100)), "at most 107 bytes"},
	} {
		if err := test.make(); err != nil {
			t.Fatal(test.name, err)
		}
		b, err := Listen(test.path)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			if _, err := Listen(test.path); err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), test.path) {
				t.Errorf("%s: a second Listen: %v", test.name, err)
			}
			if err := b.Close(); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			if _, err := os.Lstat(test.path); err == nil {
				t.Errorf("%s: the socket file is still there after Close", test.name)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
	}
}

func TestOnlyOneOfManyCanListen(t *testing.T) {
	path := filepath.Join(folder(t), "guest")
	for range 20 {
		var all sync.WaitGroup
		brokers := make([]*Broker, 4)
		for i := range brokers {
			all.Go(func() { brokers[i], _ = Listen(path) })
		}
		all.Wait()
		n := 0
		for _, b := range brokers {
			if b != nil {
				n++
				b.Listener.Close() // its socket is stale now
			}
		}
		if n != 1 {
			t.Fatalf("%d brokers listen, want 1", n)
		}
		for _, b := range brokers {
			if b != nil && n == 1 {
				defer b.Close()
			}
		}
	}
}

func TestCloseLeavesTheSocketOfAnotherBroker(t *testing.T) {
	path := filepath.Join(folder(t), "guest")
	b, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestBrokerAnswers sends requests as a compromised device could.
func TestBrokerAnswers(t *testing.T) {
	b := host(t)
	service(t, b, 99)
	fd := int(b.Device.Fd())
	for question, want := range map[string]string{
		"connect 99":                      connectedReply,
		"connect 98":                      "no such file",
		"connect /etc/passwd":             "not a valid request",
		"connect ../99":                   "not a valid request",
		"connect -1":                      "not a valid request",
		"connect 99/../../x":              "not a valid request",
		"connect 4294967296":              "not a valid request",
		"connect":                         "not a valid request",
		"open 99":                         "not a valid request",
		strings.Repeat("x", 2*maxMessage): "xxx",
	} {
		if err := unix.Sendmsg(fd, []byte(question), nil, nil, 0); err != nil {
			t.Fatal(err)
		}
		var text [maxMessage]byte
		var rights [64]byte
		n, m, _, _, err := unix.Recvmsg(fd, text[:], rights[:], 0)
		if err != nil || !strings.Contains(string(text[:n]), want) {
			t.Errorf("%.20q: %q, %v; want %q", question, text[:n], err, want)
		}
		got := descriptor(rights[:m])
		if (got >= 0) != (want == connectedReply) {
			t.Errorf("%.20q: descriptor %d", question, got)
		}
		if got >= 0 {
			unix.Close(got)
		}
	}
}

func TestServeEndsWithTheDevice(t *testing.T) {
	b, err := Listen(filepath.Join(folder(t), "guest"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Handed(); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Error(err)
	}
}

func TestOnlyOneDescriptorIsKept(t *testing.T) {
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := count()
	if err := unix.Sendmsg(fds[0], []byte("x"), unix.UnixRights(0, 1, 2), nil, 0); err != nil {
		t.Fatal(err)
	}
	var rights [64]byte
	_, m, _, _, err := unix.Recvmsg(fds[1], make([]byte, 8), rights[:], 0)
	if err != nil {
		t.Fatal(err)
	}
	if fd := descriptor(rights[:m]); fd < 0 || count() != before+1 {
		t.Errorf("descriptor %d, %d more are open", fd, count()-before)
	} else if err := unix.Close(fd); err != nil {
		t.Error(err)
	}
	if fd := descriptor(nil); fd != -1 {
		t.Error(fd)
	}
	if err := errors.Join(unix.Close(fds[0]), unix.Close(fds[1])); err != nil {
		t.Error(err)
	}
}
