package backend

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/libos/boot"
)

// ring is one queue. When nobody holds mu, all used chains are published and no
// chain is taken.
type ring struct {
	mu        sync.Mutex
	q         *virtqueue.Queue // nil: stopped
	features  uint64
	interrupt func()
	enabled   bool

	chains []virtqueue.Chain
}

// flush publishes the chains that were pushed. The caller holds mu.
func (r *ring) flush() {
	if r.q.Flush() {
		r.interrupt()
	}
}

// take copies packets that the driver transmits to pkts, and returns their number.
// If there are none, it returns 0 and has enabled notifications.
func (r *ring) take(pkts []link.Packet, sizes []int) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.q == nil {
		return 0, nil
	}
	if len(r.chains) == 0 {
		r.chains = make([]virtqueue.Chain, 1)
	}
	c := &r.chains[0]
	defer r.flush()
	for n < len(pkts) {
		ok, err := r.q.Pop(c)
		if err != nil {
			return 0, err
		}
		if !ok {
			if n == 0 && r.q.EnableNotify() {
				continue
			}
			break
		}
		if n == 0 {
			r.q.DisableNotify()
		}
		sizes[n] = 0
		if r.enabled && c.OutLen <= length(pkts[n]) {
			sizes[n] = c.OutLen
			gather(pkts[n], c.Out)
		}
		n++
		r.q.Push(c, 0)
	}
	return n, nil
}

// give copies packets to the buffers of the driver, and returns how many it
// delivered or dropped. If these are fewer than all, a notification, Start or
// Enable will follow when it is worth trying again.
func (r *ring) give(pkts []link.Packet, plain *plainer) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.q == nil || !r.enabled {
		return 0, nil
	}
	defer r.flush()
	for n < len(pkts) {
		ok := true
		if accepts(r.features, pkts[n]) {
			plain.done = 0
			ok, err = r.put(pkts[n])
		} else {
			ok, err = plain.put(r, pkts[n])
		}
		if err != nil {
			return n, err
		}
		if !ok {
			break
		}
		n++
	}
	return n, nil
}

// put copies one packet, to several chains if the driver accepted mergeable
// buffers (§5.1.6.4). If there is no room now, it enables notifications and
// reports false. It drops a packet that is larger than the whole queue.
func (r *ring) put(pkt link.Packet) (bool, error) {
	need, room, k := length(pkt), 0, 0
	for room < need {
		if k == len(r.chains) {
			r.chains = append(r.chains, virtqueue.Chain{})
		}
		c := &r.chains[k]
		ok, err := r.q.Pop(c)
		if err != nil {
			return false, err
		}
		if !ok {
			if r.q.EnableNotify() {
				continue
			}
			tooLarge := k == r.q.Size()
			r.q.Unpop(k)
			return tooLarge, nil
		}
		if k == 0 {
			r.q.DisableNotify()
		}
		if c.InLen < boot.VirtioNetHeaderSize {
			return false, fmt.Errorf("the driver lies: a buffer of %d bytes to receive into", c.InLen)
		}
		k++
		room += c.InLen
		if r.features&feature.Mergeable == 0 && room < need {
			r.q.Unpop(k)
			return true, nil
		}
	}

	var header [boot.VirtioNetHeaderSize]byte
	gather([][]byte{header[:]}, pkt)
	binary.LittleEndian.PutUint16(header[10:], uint16(k)) // num_buffers
	to := scatterer{chains: r.chains[:k]}
	to.write(header[:])
	skip := boot.VirtioNetHeaderSize
	for _, piece := range pkt {
		n := min(skip, len(piece))
		skip -= n
		to.write(piece[n:])
	}
	for i := range k {
		c := &r.chains[i]
		n := min(c.InLen, need)
		need -= n
		r.q.Push(c, n)
	}
	return true, nil
}

// scatterer writes to the buffers of chains, which must have room for all of it.
type scatterer struct {
	chains     []virtqueue.Chain
	piece, off int
}

func (s *scatterer) write(p []byte) {
	for len(p) > 0 {
		in := s.chains[0].In
		if s.piece == len(in) {
			s.chains, s.piece, s.off = s.chains[1:], 0, 0
			continue
		}
		n := copy(in[s.piece][s.off:], p)
		p = p[n:]
		s.off += n
		if s.off == len(in[s.piece]) {
			s.piece, s.off = s.piece+1, 0
		}
	}
}

// gather copies the bytes of src to dst until one of them ends.
func gather(dst, src [][]byte) {
	i, off := 0, 0
	for _, p := range src {
		for len(p) > 0 {
			if i == len(dst) {
				return
			}
			n := copy(dst[i][off:], p)
			p = p[n:]
			off += n
			if off == len(dst[i]) {
				i, off = i+1, 0
			}
		}
	}
}

// length returns the number of bytes in pieces.
func length(pieces [][]byte) (n int) {
	for _, p := range pieces {
		n += len(p)
	}
	return n
}
