//go:build !pith

// Package ninetest serves one folder to tests of package libos/vfs/ninep, with
// the server of package internal/ninep and no transport in between.
package ninetest

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/libos/linux"
)

// maxMessage is the longest message in bytes, unless a test sets a shorter one.
const maxMessage = 128<<10 + 24

// Server serves a folder. It is also a ninep.Transport to itself.
type Server struct {
	*ninep.Server
	maxMessage int
	watcher    atomic.Pointer[func(typ uint8)]
	buffers    sync.Pool
}

// New returns a server of the folder root.
func New(root string) *Server { return NewSmall(root, maxMessage) }

// NewSmall returns a server of the folder root that accepts messages of at most
// maxMessage bytes.
func NewSmall(root string, maxMessage int) *Server {
	s, err := ninep.New([]ninep.Folder{{Path: root}}, maxMessage)
	if err != nil {
		panic(err)
	}
	return &Server{Server: s, maxMessage: maxMessage}
}

// Watch makes the server call fn with the type of each request.
func (s *Server) Watch(fn func(typ uint8)) { s.watcher.Store(&fn) }

// Handle answers a request. It may be called concurrently.
func (s *Server) Handle(req []byte) (reply []byte) {
	const typ = 4
	if w := s.watcher.Load(); w != nil && len(req) > typ {
		(*w)(req[typ])
	}
	buf, ok := s.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, s.maxMessage)
		buf = &b
	}
	s.Server.Handle(req, *buf, func(r []byte) { reply = slices.Clone(r) })
	s.buffers.Put(buf)
	return reply
}

// Slots implements ninep.Transport.
func (s *Server) Slots() int { return 8 }

// MaxMessage implements ninep.Transport.
func (s *Server) MaxMessage() int { return maxMessage }

// Exchange implements ninep.Transport.
func (s *Server) Exchange(_ int, out, in [][]byte) (int, linux.Errno) {
	var req []byte
	for _, p := range out {
		req = append(req, p...)
	}
	rep := s.Handle(req)
	n := 0
	for _, p := range in {
		n += copy(p, rep[n:])
	}
	return n, 0
}
