package net

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
)

// maxSending is the most frames in a queue.
const maxSending = 256

// sender is a send queue. A frame and its header are copied to one contiguous
// piece of an arena, so they need one descriptor. The pieces lie in the arena
// in the order in which they were sent, and are freed in that order.
type sender struct {
	q     *virtio.Queue
	arena virtio.Buffer
	head  int // start of the next piece
	tail  int // end of the last freed piece

	sent  []piece // by token: a ring of the pieces in flight, oldest first
	first int     // token of the oldest piece
	count int
	out   [1]virtio.Buffer
}

// piece is a frame in the arena.
type piece struct {
	end  int
	done bool
}

// init sets queue i up with an arena of the given size in bytes.
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
		return linux.EIO // the queue broke meanwhile; there is room for every token
	}
	s.sent[token] = piece{end: start + n}
	s.head = start + n
	s.count++
	return 0
}

// room finds n bytes after the newest piece, or at the beginning of the arena.
// head and tail are equal only when the arena is empty.
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

// reclaim frees the pieces that the device has sent.
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
		s.head, s.tail = 0, 0 // this memory is still in the cache
	}
}
