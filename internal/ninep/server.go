// Package ninep is a 9P2000.L server for folders of the host. It handles
// messages independently of how they arrive: through a socket ([Server.Serve])
// in the process monitor, or through a virtqueue in a monitor of virtual
// machines.
//
// The client is not trusted. The server checks lengths, names and numbers. A
// name is one component. An object is a descriptor that was opened below the
// folder without following symbolic links, so no request leads out of the
// folder. Inside, the client may do what the user of this process may do,
// except for writes to a read-only folder. FIFOs, sockets and devices are never
// opened.
//
// The server does not support extended attributes, locks, and requests older
// than 9P2000.L.
package ninep

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"sync"

	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// Folder is a folder that a client may attach to.
type Folder struct {
	Name     string // name that the client attaches to (aname of Tattach)
	Path     string
	ReadOnly bool
}

// Server serves folders to one client.
type Server struct {
	exports    map[string]*export
	self       int // descriptor of /proc/self/fd, which gives paths to the objects of descriptors
	maxMessage int

	mu      sync.Mutex
	size    int // longest message in bytes, negotiated by Tversion
	fids    map[uint32]*entry
	maxFids int
	tags    map[uint16]*pending
}

// export is a folder being served.
type export struct {
	root     int // descriptor
	dev      uint64
	seed     maphash.Seed
	readOnly bool
}

// New returns a server of folders. Messages are at most maxMessage bytes long.
func New(folders []Folder, maxMessage int) (_ *Server, err error) {
	if maxMessage < wire.MinMessage {
		return nil, fmt.Errorf("9P messages of at most %d bytes are too short", maxMessage)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("read the limit of open files: %w", err)
	}
	s := &Server{
		exports: map[string]*export{}, self: -1, maxMessage: maxMessage, size: maxMessage,
		fids: map[uint32]*entry{}, tags: map[uint16]*pending{},
		// Each fid may need a descriptor, and the process has other descriptors, too.
		maxFids: int(min(limit.Cur/4*3, 1<<16)),
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	const self = "/proc/self/fd"
	if s.self, err = unix.Open(self, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: self, Err: err}
	}
	for _, f := range folders {
		if err := s.export(f); err != nil {
			return nil, &os.PathError{Op: "open folder", Path: f.Path, Err: err}
		}
	}
	return s, nil
}

func (s *Server) export(f Folder) error {
	fd, err := unix.Open(f.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	s.exports[f.Name] = &export{root: fd, dev: st.Dev, seed: maphash.MakeSeed(), readOnly: f.ReadOnly}
	return nil
}

// Close ends the session. No request may be in flight, or follow.
func (s *Server) Close() {
	s.forget()
	for _, x := range s.exports {
		unix.Close(x.root)
	}
	if s.self >= 0 {
		unix.Close(s.self)
	}
}

// Handle handles a request. It builds the reply in buf, which must be as long
// as the longest message, and passes it to send. A request to flush this one
// (Tflush) is not answered before send has returned. Handle may be called
// concurrently.
func (s *Server) Handle(req, buf []byte, send func(reply []byte)) {
	r := request{Reader: wire.Reader{B: req}}
	size, typ := r.U32(), r.U8()
	r.tag = r.U16()
	a := &answer{b: append(buf[:0], 0, 0, 0, 0, typ+1, byte(r.tag), byte(r.tag>>8))}
	err := error(unix.EPROTO)
	switch {
	case r.Bad || uint64(size) != uint64(len(req)):
	case typ == wire.Tflush:
		err = s.flush(r.U16())
	case len(req) > s.agreed():
		err = unix.EMSGSIZE
	default:
		p := s.begin(r.tag)
		defer s.end(r.tag, p)
		err = s.handle(typ, &r, a)
	}
	if err == nil && len(a.b) > s.agreed() {
		err = unix.EMSGSIZE
	}
	if err != nil {
		errno := unix.EIO
		errors.As(err, &errno)
		a.b = append(a.b[:4], wire.Rlerror, byte(r.tag), byte(r.tag>>8))
		a.u32(uint32(errno))
	}
	binary.LittleEndian.PutUint32(a.b, uint32(len(a.b)))
	send(a.b)
}

// agreed returns the negotiated size of the longest message.
func (s *Server) agreed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// pending is a request in flight.
type pending struct{ done chan struct{} } // closed at the end; nil if nobody waits

// begin registers a request in flight. It replaces an earlier one with the same
// tag: that is answered already, or the client has broken the protocol.
func (s *Server) begin(tag uint16) *pending {
	p := new(pending)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags[tag] = p
	return p
}

func (s *Server) end(tag uint16, p *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.done != nil {
		close(p.done)
	}
	if s.tags[tag] == p {
		delete(s.tags, tag)
	}
}

// flush waits until the request with tag old is answered. No request takes long
// enough to be worth cancelling. A flush is not registered itself, so that no
// two can wait for each other.
func (s *Server) flush(old uint16) error {
	s.mu.Lock()
	p := s.tags[old]
	if p != nil && p.done == nil {
		p.done = make(chan struct{})
	}
	s.mu.Unlock()
	if p != nil {
		<-p.done
	}
	return nil
}
