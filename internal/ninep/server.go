// Package ninep is a server of folders of the host by 9P2000.L. It takes a
// message and gives its reply, whatever carries them: a socket ([Server.Serve])
// for the process monitor, a virtqueue for one that makes virtual machines.
//
// Its client is not trusted. Lengths, names and numbers are checked; a name is
// one component, and an object is a descriptor that was opened below the folder
// without following symbolic links, so that no request leads out of it. What is
// allowed there is what the user of this process may do, less what a read-only
// folder forbids. No FIFO, socket or device is opened.
//
// Not there: extended attributes, locks, and requests that are older than
// 9P2000.L.
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
	Name     string // by which the client asks for it (aname of Tattach)
	Path     string
	ReadOnly bool
}

// Server serves folders to one client.
type Server struct {
	exports    map[string]*export
	self       int // /proc/self/fd, which leads to what a descriptor stands for
	maxMessage int

	mu      sync.Mutex
	size    int // of the longest message; that of Tversion
	fids    map[uint32]*entry
	maxFids int
	tags    map[uint16]*pending
}

// export is a folder that is served.
type export struct {
	root     int // descriptor
	dev      uint64
	seed     maphash.Seed
	readOnly bool
}

// New is a server of folders, whose messages are at most maxMessage bytes long.
func New(folders []Folder, maxMessage int) (_ *Server, err error) {
	if maxMessage < wire.MinMessage {
		return nil, fmt.Errorf("9P messages of %d bytes are too short", maxMessage)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("limit of open files: %w", err)
	}
	s := &Server{
		exports: map[string]*export{}, self: -1, maxMessage: maxMessage, size: maxMessage,
		fids: map[uint32]*entry{}, tags: map[uint16]*pending{},
		// Each is a descriptor, and the process has others, too.
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

// Close ends the session. No request may be under way, nor follow.
func (s *Server) Close() {
	s.forget()
	for _, x := range s.exports {
		unix.Close(x.root)
	}
	if s.self >= 0 {
		unix.Close(s.self)
	}
}

// Handle answers a request. The reply is made in buf, which is as long as the
// longest message, and given to send; a request to forget this one (Tflush) is
// not answered before send has returned. Any number may be handled at a time.
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

// agreed is the size of the longest message.
func (s *Server) agreed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// pending is a request under way.
type pending struct{ done chan struct{} } // closed at the end; nil: nobody waits

// begin notes that a request is under way. One of the same tag is as good as
// over: the client has its reply, or nothing better is due to it.
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

// flush waits until the request of tag old has its reply: nothing here takes
// long enough to be broken off. It is not itself noted, so that no two wait for
// each other.
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
