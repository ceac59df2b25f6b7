package net

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
)

// maxSending is how many frames a queue holds at most.
const maxSending = 256

// sender is a send queue. A frame is copied into one piece of an arena, with its
// header, so that it is one descriptor; the pieces lie in the arena in the order
// in which they were sent, and are free again in that order.
type sender struct {
	q     *virtio.Queue
	arena virtio.Buffer
	head  int // where the next piece goes
	tail  int // where the last one ended that is free again

	sent  []piece // by token: a ring of those that the device has, oldest first
	first int     // token of the oldest
	count int
	out   [1]virtio.Buffer
}

// piece is a frame in the arena.
type piece struct {
	end  int
	done bool
}

// init sets up queue i with an arena of the given bytes.
func (s *sender) init(d *Device, i, bytes int) (errno linux.Errno) {
	if s.q, errno = d.dev.NewQueue(i, maxSending); errno != 0 {
		return errno
	}
	s.sent = make([]piece, s.q.Size())
	s.arena, errno = virtio.Alloc(bytes)
	return errno
}

func (s *sender) send(h boot.VnetHeader, frame [][]byte) linux.Errno {
	s.reclaim()
	n := boot.VirtioNetHeaderSize
	for _, p := range frame {
		n += len(p)
	}
	if n > largest {
		return linux.EMSGSIZE
	}
	if s.q.Broken() {
		return linux.EIO
	}
	start, ok := s.room(n)
	if !ok {
		return linux.EAGAIN
	}
	out := s.arena.Slice(start, start+n)
	h.NumBuffers = 0 // §5.1.6.2
	h.Put(out.Mem)
	rest := out.Mem[boot.VirtioNetHeaderSize:]
	for _, p := range frame {
		rest = rest[copy(rest, p):]
	}
	token := (s.first + s.count) % len(s.sent)
	s.out[0] = out
	if !s.q.Add(s.out[:], nil, token) {
		return linux.EIO // broken meanwhile: there is room for each token
	}
	s.sent[token] = piece{end: start + n}
	s.head = start + n
	s.count++
	return 0
}

// room finds n bytes behind the youngest piece, or at the beginning of the
// arena. Head and tail are the same only when the arena is empty.
func (s *sender) room(n int) (start int, ok bool) {
	switch {
	case s.count == len(s.sent):
		return 0, false
	case s.head < s.tail:
		return s.head, s.head+n < s.tail
	case s.head+n <= len(s.arena.Mem):
		return s.head, true
	default:
		return 0, n < s.tail
	}
}

// reclaim takes back what the device has sent.
func (s *sender) reclaim() {
	for {
		token, _, ok := s.q.Take()
		if !ok {
			break
		}
		s.sent[token].done = true
	}
	for s.count > 0 && s.sent[s.first].done {
		s.tail = s.sent[s.first].end
		s.first = (s.first + 1) % len(s.sent)
		s.count--
	}
	if s.count == 0 {
		s.head, s.tail = 0, 0 // what was used last is still in the cache
	}
}
