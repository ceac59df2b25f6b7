package hostinet

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// relay carries the datagrams of a socket that the server does not pass, because a policy
// holds: it checks where each one goes (boot.Datagram).
type relay struct {
	s      *Server
	domain int
	host   *os.File // the socket
	image  *os.File // the server's end of the pair

	sent chan struct{} // closed when out has ended

	mu     sync.Mutex // guards sends to image, which both goroutines make
	header [boot.DatagramHeader]byte
}

// relayed starts a relay for a socket. It passes the image's end of the pair.
func (s *Server) relayed(c copied) (*made, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, unix.Close(c.fd))
	}
	c.relay = &relay{s: s, domain: c.domain, host: os.NewFile(uintptr(c.fd), "socket"), image: os.NewFile(uintptr(fds[0]), "datagrams"), sent: make(chan struct{})}
	go c.relay.out()
	go c.relay.in()
	return &made{fds[1], c}, nil
}

// drainTime is how long close waits until the datagrams of an image are sent. Usually that
// takes no time; a socket whose buffer is full may take longer.
const drainTime = time.Second

// close ends the relay and closes the socket. What the image has sent before is sent on, as
// sendmsg(2) on a socket of its own would have done.
func (r *relay) close() error {
	raw, err := r.image.SyscallConn()
	if err == nil {
		// out reads what is there, and then the end.
		err = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
	}
	err = errors.Join(err, r.host.SetWriteDeadline(time.Now().Add(drainTime)))
	if err == nil {
		<-r.sent
	}
	return errors.Join(err, r.image.Close(), r.host.Close())
}

// out sends the image's datagrams. A failure loses the datagram and no more, as a failure
// beyond this host would. The image has asked for the errors of a destination before
// (boot.SocketReach).
func (r *relay) out() {
	defer close(r.sent)
	buf := make([]byte, boot.DatagramHeader+boot.DatagramData+1)
	for {
		n, err := r.image.Read(buf)
		if err != nil || n == 0 {
			return // the image or the server has closed it
		}
		connected, err := r.send(buf[:n])
		switch {
		case err == nil:
		case connected:
			r.report(err) // such as ECONNREFUSED, of the peer
		default:
			r.s.cfg.Log("host sockets: a datagram is lost: %v", err)
		}
	}
}

// send sends one datagram. It reports whether that goes to the peer of the socket.
func (r *relay) send(message []byte) (connected bool, err error) {
	if len(message) < boot.DatagramHeader {
		return false, unix.EINVAL
	}
	d, err := boot.ParseDatagram((*[boot.DatagramHeader]byte)(message))
	if err != nil {
		return false, unix.EINVAL
	}
	var to []byte
	if len(d.Addr) > 0 {
		// The kernel gets the address that is checked, and not the image's bytes.
		target, err := r.s.target(d.Addr)
		if err != nil {
			return false, err
		}
		addr := target.Addr
		if r.domain == unix.AF_INET6 {
			addr = netip.AddrPortFrom(netip.AddrFrom16(addr.Addr().As16()), addr.Port())
		}
		to = sockaddr(addr, zone(d.Addr))
	}
	if !sendable(d.Control) {
		return false, unix.EINVAL
	}
	return to == nil, transfer(r.host.SyscallConn, false, func(fd uintptr) error {
		return sendmsg(int(fd), message[boot.DatagramHeader:], to, d.Control)
	})
}

// sendable reports whether control messages (cmsg(3)) are those of a list: they choose the
// interface and source address, fields of the IP header, and the size of segments.
func sendable(control []byte) bool {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, c := range list {
		switch [2]int32{c.Header.Level, c.Header.Type} {
		case [2]int32{unix.SOL_IP, unix.IP_PKTINFO}, [2]int32{unix.SOL_IP, unix.IP_TTL}, [2]int32{unix.SOL_IP, unix.IP_TOS},
			[2]int32{unix.SOL_IPV6, unix.IPV6_PKTINFO}, [2]int32{unix.SOL_IPV6, unix.IPV6_HOPLIMIT}, [2]int32{unix.SOL_IPV6, unix.IPV6_TCLASS},
			[2]int32{unix.SOL_IPV6, unix.IPV6_DONTFRAG}, [2]int32{unix.SOL_UDP, unix.UDP_SEGMENT}:
		default:
			return false
		}
	}
	return true
}

// in passes on the datagrams that the socket receives.
func (r *relay) in() {
	buf, control := make([]byte, boot.DatagramData), make([]byte, boot.DatagramControl)
	for {
		var got received
		err := transfer(r.host.SyscallConn, true, func(fd uintptr) (err error) {
			got, err = recvmsg(int(fd), buf, control)
			return err
		})
		if errors.As(err, new(unix.Errno)) {
			r.report(err)
			continue
		}
		if err != nil {
			return // the server has closed it
		}
		d := boot.Datagram{Addr: got.addr, Control: control[:got.control]}
		if err := r.pass(&d, buf[:got.n]); err != nil {
			return
		}
	}
}

// report passes an error of the socket on.
func (r *relay) report(err error) {
	errno := unix.EIO
	if errors.As(err, &errno) {
		_ = r.pass(&boot.Datagram{Errno: uint32(errno)}, nil) // it fails if the image has closed its end
	}
}

// pass sends a message to the image.
func (r *relay) pass(d *boot.Datagram, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !d.Put(&r.header) {
		return unix.EMSGSIZE // both come from the kernel into buffers of this size
	}
	return transfer(r.image.SyscallConn, false, func(fd uintptr) error {
		_, err := unix.Writev(int(fd), [][]byte{r.header[:], data})
		return err
	})
}

// transfer makes a non-blocking call on a descriptor, and waits until it can be made.
func transfer(conn func() (syscall.RawConn, error), reads bool, call func(fd uintptr) error) error {
	raw, err := conn()
	if err != nil {
		return err
	}
	var failed error
	try := func(fd uintptr) bool {
		for {
			failed = call(fd)
			if !errors.Is(failed, unix.EINTR) {
				return !errors.Is(failed, unix.EAGAIN)
			}
		}
	}
	if reads {
		err = raw.Read(try)
	} else {
		err = raw.Write(try)
	}
	return errors.Join(err, failed)
}
