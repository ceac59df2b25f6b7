package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/netns"

	"golang.org/x/sys/unix"
)

// Routes asks the kernel how it routes an address (rtnetlink(7)). The kernel's answer
// covers all addresses of the host, those of today and those added later, and so do the
// prefixes that `ip route add local` makes own.
type Routes struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf [1024]byte
}

// OpenRoutes opens the routes of a network namespace; nil: the caller's. The caller closes
// them.
func OpenRoutes(ns *netns.Namespace) (*Routes, error) {
	fd, err := netns.Make(ns, func() (int, error) {
		return unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	})
	if err != nil {
		return nil, fmt.Errorf("ask the kernel for its routes: %w", os.NewSyscallError("socket", err))
	}
	return &Routes{fd: fd}, nil
}

// Close closes the routes.
func (r *Routes) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd := r.fd
	r.fd = -1
	return unix.Close(fd)
}

// Local reports whether an address is the host's own: a packet to it stays on the host.
func (r *Routes) Local(a netip.Addr) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return false, os.ErrClosed
	}
	kind, err := r.kind(a)
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return false, nil // no route, or one that says so: dialling fails in the same way
	case err != nil:
		return false, fmt.Errorf("ask the kernel for the route to %s: %w", a, err)
	}
	return kind == unix.RTN_LOCAL, nil
}

// kind returns the type of the route to a: one of RTN_*.
func (r *Routes) kind(a netip.Addr) (uint8, error) {
	const header = unix.SizeofNlMsghdr + unix.SizeofRtMsg
	family := byte(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	dst := a.AsSlice()
	r.seq++
	e := binary.NativeEndian
	m := r.buf[:0]
	m = e.AppendUint32(m, uint32(header+unix.SizeofRtAttr+len(dst)))
	m = e.AppendUint16(m, unix.RTM_GETROUTE)
	m = e.AppendUint16(m, unix.NLM_F_REQUEST)
	m = e.AppendUint32(m, r.seq)
	m = e.AppendUint32(m, 0)
	m = append(m, family, byte(a.BitLen()), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	m = e.AppendUint16(m, uint16(unix.SizeofRtAttr+len(dst)))
	m = e.AppendUint16(m, unix.RTA_DST)
	m = append(m, dst...)
	if err := unix.Sendto(r.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, os.NewSyscallError("sendto", err)
	}
	for {
		n, _, err := unix.Recvfrom(r.fd, r.buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, os.NewSyscallError("recvfrom", err)
		}
		answer := r.buf[:n]
		if n < header || e.Uint32(answer[8:]) != r.seq {
			continue // of an earlier request that failed half-way
		}
		switch e.Uint16(answer[4:]) {
		case unix.NLMSG_ERROR:
			return 0, unix.Errno(-int32(e.Uint32(answer[unix.SizeofNlMsghdr:])))
		case unix.RTM_NEWROUTE:
			return answer[unix.SizeofNlMsghdr+7], nil
		}
		return 0, fmt.Errorf("message %d of the kernel is not known", e.Uint16(answer[4:]))
	}
}
