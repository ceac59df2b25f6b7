package netns_test

import (
	"net"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/netns/netnstest"
)

func open(t *testing.T, path string) *netns.Namespace {
	t.Helper()
	ns, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func TestSocketsAreOfTheNamespace(t *testing.T) {
	ns := open(t, netnstest.New(t))
	l, err := netns.Make(ns, func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
	if c, err := dial(); err == nil {
		c.Close()
		t.Error("a listener of the other namespace is reached from here")
	}
	c, err := netns.Make(ns, dial)
	if err != nil {
		t.Fatalf("dial within the namespace: %v", err)
	}
	c.Close()
}

func TestNoOtherGoroutineGetsIntoTheNamespace(t *testing.T) {
	path := netnstest.New(t)
	ns := open(t, path)
	there, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	where := func() (os.FileInfo, error) { return os.Stat("/proc/thread-self/ns/net") }
	var all, together sync.WaitGroup
	const goroutines = 50
	together.Add(goroutines)
	for range goroutines {
		all.Go(func() {
			if here, err := netns.Make(ns, where); err != nil || !os.SameFile(here, there) {
				t.Errorf("within Make: %v, %v", here, err)
			}
			runtime.LockOSThread() // each on a thread of its own
			defer runtime.UnlockOSThread()
			together.Done()
			together.Wait()
			if here, err := where(); err != nil || os.SameFile(here, there) {
				t.Errorf("after Make: %v, %v", here, err)
			}
		})
	}
	all.Wait()
}

func TestNilNamespaceIsTheCallers(t *testing.T) {
	where := func() (string, error) { return os.Readlink("/proc/thread-self/ns/net") }
	want, err := where()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := netns.Make(nil, where); got != want || err != nil {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	for _, path := range []string{"/proc/self/ns/uts", "/dev/null", "/run/netns/there-is-none"} {
		if ns, err := netns.Open(path); err == nil {
			ns.Close()
			t.Errorf("%s is taken for a network namespace", path)
		}
	}
}
