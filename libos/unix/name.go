package unix

import (
	"bytes"
	"strconv"
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// Umask returns the file mode creation mask. Package sys sets it.
var Umask = func() uint32 { return 0 }

// name is what a socket is bound to: a node of the file system, or an abstract
// name. Each type of socket has its own abstract names.
type name struct {
	node     vfs.Inode
	abstract string
	typ      int
}

// names finds bound sockets. When a socket is closed its node stays, but no
// socket is bound to it.
var names struct {
	sync.Mutex
	bound map[name]*Socket
	auto  uint32 // the last number that autobind tried
}

// familySize is the offset of sun_path in struct sockaddr_un.
const familySize = 2

// unnamed is the address of an unbound socket: the family alone.
var unnamed = []byte{linux.AF_UNIX, 0}

// path returns the sun_path of socket address sa: a path, or an abstract name
// with its leading zero byte.
func path(sa []byte) (string, linux.Errno) {
	if len(sa) <= familySize || len(sa) > familySize+linux.UnixPathMax || family(sa) != linux.AF_UNIX {
		return "", linux.EINVAL
	}
	p := sa[familySize:]
	if p[0] == 0 {
		return string(p), 0
	}
	if i := bytes.IndexByte(p, 0); i >= 0 {
		p = p[:i]
	}
	return string(p), 0
}

func family(sa []byte) int {
	if len(sa) < familySize {
		return linux.AF_UNSPEC
	}
	return int(sa[0]) | int(sa[1])<<8
}

// forget removes the name of s.
func (n name) forget(s *Socket) {
	names.Lock()
	defer names.Unlock()
	if names.bound[n] == s {
		delete(names.bound, n)
	}
}

// Bind implements socket.Socket.
func (s *Socket) Bind(sa []byte) linux.Errno {
	if len(sa) == familySize && family(sa) == linux.AF_UNIX {
		return s.autobind()
	}
	p, errno := path(sa)
	if errno != 0 {
		return errno
	}
	names.Lock()
	defer names.Unlock()
	s.mu.Lock()
	taken := s.addr != nil
	s.mu.Unlock()
	if taken {
		return linux.EINVAL
	}
	n := name{abstract: p, typ: s.Type()}
	if p[0] != 0 {
		if n, errno = makeNode(p); errno != 0 {
			return errno
		}
		p += "\x00"
	} else if names.bound[n] != nil {
		return linux.EADDRINUSE
	}
	s.name(n, p)
	return 0
}

// makeNode makes the node of a pathname socket.
func makeNode(p string) (name, linux.Errno) {
	cwd := vfs.Cwd()
	errno := vfs.Make(cwd, p, &vfs.NewInode{Mode: linux.S_IFSOCK | 0o777&^Umask()})
	if errno == linux.EEXIST {
		return name{}, linux.EADDRINUSE
	}
	if errno != 0 {
		return name{}, errno
	}
	d, errno := vfs.Walk(cwd, p, false)
	if errno != 0 {
		return name{}, errno
	}
	return name{node: d.Inode()}, 0
}

// name binds s to n, with names locked.
func (s *Socket) name(n name, path string) {
	if names.bound == nil {
		names.bound = make(map[name]*Socket)
	}
	names.bound[n] = s
	s.mu.Lock()
	s.bound = n
	s.addr = append(append([]byte(nil), unnamed...), path...)
	s.mu.Unlock()
}

// autobind binds s to a free abstract name of five hexadecimal digits (unix(7),
// "Autobind feature"), unless it is bound.
func (s *Socket) autobind() linux.Errno {
	names.Lock()
	defer names.Unlock()
	s.mu.Lock()
	taken := s.addr != nil
	s.mu.Unlock()
	if taken {
		return 0
	}
	const count = 1 << 20
	for range count {
		names.auto++
		digits := strconv.FormatUint(uint64(count+names.auto%count), 16)
		n := name{abstract: "\x00" + digits[1:], typ: s.Type()}
		if names.bound[n] == nil {
			s.name(n, n.abstract)
			return 0
		}
	}
	return linux.ENOSPC
}

// find returns the socket of type typ that is bound to sa.
func find(sa []byte, typ int) (*Socket, linux.Errno) {
	p, errno := path(sa)
	if errno != 0 {
		return nil, errno
	}
	n := name{abstract: p, typ: typ}
	if p[0] != 0 {
		d, errno := vfs.Walk(vfs.Cwd(), p, true)
		if errno != 0 {
			return nil, errno
		}
		if errno := d.May(vfs.Write); errno != 0 {
			return nil, errno
		}
		n = name{node: d.Inode()}
	}
	names.Lock()
	s := names.bound[n]
	names.Unlock()
	switch {
	case s == nil:
		return nil, linux.ECONNREFUSED
	case s.Type() != typ:
		return nil, linux.EPROTOTYPE
	}
	return s, 0
}

// localAddr returns the address of s, which is just the family when s is
// unbound.
func (s *Socket) localAddr() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr == nil {
		return unnamed
	}
	return s.addr
}

// LocalAddr implements socket.Socket.
func (s *Socket) LocalAddr() ([]byte, linux.Errno) { return s.localAddr(), 0 }

// PeerAddr implements socket.Socket.
func (s *Socket) PeerAddr() ([]byte, linux.Errno) {
	peer := s.peer.Load()
	if peer == nil {
		return nil, linux.ENOTCONN
	}
	return peer.localAddr(), 0
}
