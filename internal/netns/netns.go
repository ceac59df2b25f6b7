// Package netns makes sockets in a network namespace of the host that is not the
// caller's own (network_namespaces(7)). A socket stays in the namespace of the
// thread that made it. So only its making needs a thread in that namespace, and
// any goroutine may use it afterwards.
//
// The networks of instances stand on it: package gateway for its connections,
// package network for a tap interface.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace. A nil Namespace is the caller's own.
type Namespace struct{ file *os.File }

// Open opens the namespace at path: /run/netns/NAME, as ip-netns(8) makes it, or
// /proc/PID/ns/net.
func Open(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	n := &Namespace{f}
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return nil, errors.Join(fmt.Errorf("%s is not a network namespace: give /run/netns/NAME or /proc/PID/ns/net", path), f.Close())
	}
	return n, nil
}

// Initial reports whether a namespace is the one of process 1, which is this host's own.
func Initial(n *Namespace) (bool, error) {
	path := "/proc/thread-self/ns/net"
	if n != nil {
		path = fmt.Sprintf("/proc/self/fd/%d", n.file.Fd())
	}
	this, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("network namespace: %w", err)
	}
	first, err := os.Stat("/proc/1/ns/net")
	if errors.Is(err, os.ErrPermission) {
		return n == nil, nil // an unprivileged user's namespace is usually the host's
	}
	if err != nil {
		return false, fmt.Errorf("network namespace: %w", err)
	}
	return os.SameFile(this, first), nil
}

// Close closes the Namespace. Sockets that were made in it stay in it.
func (n *Namespace) Close() error { return n.file.Close() }

// Make calls f, which makes a socket, on a thread that is in the namespace, and
// returns what f returns. Only f's own goroutine is there, not one that f starts.
// To enter, the caller needs CAP_SYS_ADMIN in its own user namespace and in the one
// that owns the network namespace (setns(2)). In a nil Namespace f runs directly.
func Make[T any](n *Namespace, f func() (T, error)) (T, error) {
	if n == nil {
		return f()
	}
	var made T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The goroutine ends without unlocking, so its thread ends too, and no
		// other goroutine ever runs in the namespace by mistake.
		runtime.LockOSThread()
		if err = unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter network namespace %s: %w", n.file.Name(), err)
			return
		}
		made, err = f()
	}()
	<-done
	return made, err
}
