// Package netnstest makes network namespaces for tests.
package netnstest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// New makes a network namespace whose loopback interface is up. It returns a path
// of it that holds until the test ends. Without the privilege the test is skipped.
func New(t *testing.T) string {
	t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, err}
			return
		}
		if err := bringUp("lo"); err != nil {
			made <- result{nil, fmt.Errorf("set the loopback interface up: %w", err)}
			return
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		made <- result{file, err}
	}()
	r := <-made
	if r.err == unix.EPERM {
		t.Skip("a network namespace needs root: run the test with sudo")
	}
	if r.err != nil {
		t.Fatalf("network namespace: %v", r.err)
	}
	t.Cleanup(func() {
		if err := r.file.Close(); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("/proc/self/fd/%d", r.file.Fd())
}

// bringUp sets an interface of the thread's namespace up (netdevice(7)).
func bringUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
