// Package folders gives a confined process access to shared folders. The server
// is in the monitor; package vfs/ninep reaches it through the socket
// boot.FDFiles. Package folders provides the Transport and mounts the folders.
// Package sys calls it at the start. Virtual machines use virtio devices
// instead (package virtio/ninep).
package folders

import (
	"runtime"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// Start mounts the folders that the boot parameters name. It must be called
// before the tree of files is first used. It ends the instance on an error,
// because a program must not run without a folder that it was promised.
func Start() {
	mounts := platform.Config().Mounts
	if len(mounts) == 0 || platform.VM() {
		return
	}
	host, errno := platform.OpenHost(boot.FDFiles)
	if errno == 0 {
		errno = mount(newSocket(host), mounts)
	}
	if errno != 0 {
		platform.ConsoleWrite(2, []byte("pith: cannot mount the shared folders: "+errno.Name()+"\n"))
		platform.Exit(boot.ExitFailure)
	}
}

func mount(t ninep.Transport, mounts []boot.Mount) linux.Errno {
	session, errno := ninep.Connect(t)
	for _, m := range mounts {
		if errno != 0 {
			break
		}
		var fs *ninep.FS
		if fs, errno = session.Attach(m.Tag, m.ReadOnly); errno == 0 {
			fs.Mount(m.Tag, m.Path)
		}
	}
	return errno
}

// maxSlots is how many requests may be in flight.
const maxSlots = 16

// socket is a ninep.Transport over a SOCK_SEQPACKET socket, with one message
// per packet.
//
// No goroutine is dedicated to receiving. One of the goroutines that wait for
// replies receives for all. When it has its own reply, another one takes over.
// A program with one request in flight thus waits once, and no goroutine switch
// is needed.
type socket struct {
	host    *platform.Host
	sending sync.Mutex
	slots   [maxSlots]slot
	// Used by the receiving goroutine.
	buf     []byte
	spinner spinner

	mu        sync.Mutex
	receiving bool // a goroutine receives
	broken    bool
}

// slot is a request in flight and the goroutine that waits for its reply.
type slot struct {
	platform.Waiter
	out []byte // copy of a request that came in several parts

	// Guarded by socket.mu.
	busy bool
	tag  uint16
	in   [][]byte // destination of the reply
	n    int      // length of the reply; -1: none will come
}

func newSocket(host *platform.Host) *socket {
	return &socket{host: host, buf: make([]byte, boot.MaxFilesMessage)}
}

// Slots implements ninep.Transport.
func (k *socket) Slots() int { return maxSlots }

// MaxMessage implements ninep.Transport.
func (k *socket) MaxMessage() int { return boot.MaxFilesMessage }

// Exchange implements ninep.Transport.
func (k *socket) Exchange(i int, out, in [][]byte) (int, linux.Errno) {
	s := &k.slots[i]
	request := s.message(out)
	k.mu.Lock()
	if k.broken {
		k.mu.Unlock()
		return 0, linux.EIO
	}
	s.busy, s.tag, s.in = true, tagOf(request), in
	k.mu.Unlock()
	if !k.send(request) {
		k.mu.Lock()
		k.fail()
		k.mu.Unlock()
	}
	if n := k.await(s); n >= 0 {
		return n, 0
	}
	return 0, linux.EIO
}

// message returns the request as one slice.
func (s *slot) message(parts [][]byte) []byte {
	n, filled := 0, 0
	var one []byte
	for _, p := range parts {
		if len(p) > 0 {
			n, filled, one = n+len(p), filled+1, p
		}
	}
	if filled == 1 {
		return one
	}
	if cap(s.out) < n {
		s.out = make([]byte, 0, n)
	}
	s.out = s.out[:0]
	for _, p := range parts {
		s.out = append(s.out, p...)
	}
	return s.out
}

// tagOf returns the tag of a message that is at least wire.Head bytes long.
func tagOf(message []byte) uint16 {
	r := wire.Reader{B: message[5:wire.Head]}
	return r.U16()
}

func (k *socket) send(request []byte) bool {
	k.sending.Lock()
	defer k.sending.Unlock()
	for {
		_, errno := k.host.Write(request)
		if errno == linux.EAGAIN {
			errno = k.host.Wait(platform.Writable)
			if errno == 0 {
				continue
			}
		}
		return errno == 0
	}
}

// await waits for the reply to s and returns its length, or -1 if none will
// come.
func (k *socket) await(s *slot) int {
	for {
		k.mu.Lock()
		switch {
		case !s.busy:
			n := s.n
			s.in = nil
			k.mu.Unlock()
			return n
		case k.receiving:
			k.mu.Unlock()
			s.Wait()
		default:
			k.receiving = true
			k.mu.Unlock()
			k.receive(s)
		}
	}
}

// receive delivers replies until the one for s has come.
func (k *socket) receive(s *slot) {
	k.spinner.start()
	for {
		n, errno := k.host.Read(k.buf)
		if errno == linux.EAGAIN {
			if k.spinner.spin() {
				runtime.Gosched()
				continue
			}
			if errno = k.host.Wait(platform.Readable); errno == 0 {
				continue
			}
		}
		k.mu.Lock()
		if errno != 0 || !k.deliver(k.buf[:n]) {
			k.fail()
		}
		done := !s.busy
		if done {
			k.receiving = false
			k.next()
		}
		k.mu.Unlock()
		if done {
			return
		}
	}
}

// deliver copies a reply to the slot that waits for it, with k.mu held. It
// returns false when no slot has the reply's tag, which means that the server
// misbehaves.
func (k *socket) deliver(reply []byte) bool {
	if len(reply) < wire.Head {
		return false
	}
	tag := tagOf(reply)
	for i := range k.slots {
		s := &k.slots[i]
		if !s.busy || s.tag != tag {
			continue
		}
		rest := reply
		for _, p := range s.in {
			rest = rest[copy(p, rest):]
		}
		s.finish(len(reply))
		return true
	}
	return false
}

// finish ends the wait of a slot, with socket.mu held.
func (s *slot) finish(n int) {
	s.busy, s.n = false, n
	s.Wake()
}

// next lets another waiting goroutine receive, if there is one. k.mu is held.
func (k *socket) next() {
	for i := range k.slots {
		if k.slots[i].busy {
			k.slots[i].Wake()
			return
		}
	}
}

// fail ends all current and future waits, with k.mu held.
func (k *socket) fail() {
	k.broken = true
	for i := range k.slots {
		if k.slots[i].busy {
			k.slots[i].finish(-1)
		}
	}
}
