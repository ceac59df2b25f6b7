//go:build pith

package runtime

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func (p *program) mmap(addr, n, flags uintptr) uintptr {
	return p.call(nrMmap, addr, n, _PROT_READ|_PROT_WRITE, _MAP_ANON|_MAP_PRIVATE|flags)
}

// mappedBytes is how many bytes of [addr, addr+n) are mapped.
func (s *sim) mappedBytes(addr, n uintptr) (bytes uintptr) {
	for _, r := range s.mapped {
		if from, to := max(addr, r.addr), min(addr+n, r.addr+r.n); from < to {
			bytes += to - from
		}
	}
	return bytes
}

func TestMmap(t *testing.T) {
	const page, fixed, noReplace = pageSize4, 0x10, 0x100000
	s := newSim(t, 1, 1)
	s.run(func(p *program) {
		want(s, "no bytes", p.mmap(0, 0, 0), errno(_EINVAL))
		want(s, "more than there is", p.mmap(0, vmMmapTop, 0), errno(_ENOMEM))
		want(s, "bytes that overflow", p.mmap(0, ^uintptr(0)-5, 0), errno(_ENOMEM))
		a := p.mmap(0, 3*page-1, 0)
		want(s, "mapped", s.mappedBytes(a, 3*page), 3*page)
		b := p.mmap(0, page, 0)
		want(s, "the next one is below", b, a-page)
		want(s, "unmap it", p.call(nrMunmap, b, page), 0)
		want(s, "its place is used again", p.mmap(0, page, 0), b)
		c := p.mmap(0, 3*pageSize2, 0)
		want(s, "alignment of large memory", c%pageSize2, 0)
		const free = 0x123456000
		want(s, "a free place that is asked for", p.mmap(free, page, 0), free)
		if got := p.mmap(free, page, 0); got == free || s.mappedBytes(got, page) != page {
			t.Errorf("a place in use was asked for, and %#x given", got)
		}
		want(s, "a place in use, MAP_FIXED_NOREPLACE", p.mmap(free, page, noReplace), errno(17))
		want(s, "a place in use, MAP_FIXED", p.mmap(free, page, fixed), free)
		want(s, "mapped", s.mappedBytes(free-page, 3*page), page)
		var phys uintptr
		dma := p.call(platformDMA, 2, at(p, &phys))
		want(s, "mapped for DMA", s.mappedBytes(dma, 2*page), 2*page)
		want(s, "guest-physical address", phys, 0x100000)
		want(s, "no pages for DMA", p.call(platformDMA, 0, at(p, &phys)), errno(_ENOMEM))
	})
}

// A range that the runtime does not use is kept until it is too much, and forgotten
// when it is used again: what is kept is a subset of what is unused, each byte once,
// and what was unused and is not kept was discarded.
func TestUnusedPages(t *testing.T) {
	const pages = 400
	var memory uintptr = 0x10_0000_0000
	for seed := range uint64(20) {
		s := newSim(t, 1, seed+1)
		r := rand.New(rand.NewPCG(seed, 1))
		s.run(func(p *program) {
			var unused, discarded [pages]bool
			for range 300 {
				first := r.IntN(pages)
				n := 1 + r.IntN(min(20, pages-first))
				addr, size := memory+uintptr(first)*pageSize4, uintptr(n)*pageSize4
				use := r.IntN(3) == 0
				if !use && slices.Contains(unused[first:first+n], true) {
					use = true // the runtime gives nothing back twice
				}
				s.discards = nil
				if use {
					want(s, "used", p.call(nrMadvise, addr, size, adviceUsed), 0)
				} else {
					want(s, "unused", p.call(nrMadvise, addr, size, adviceUnused), 0)
				}
				for i := first; i < first+n; i++ {
					unused[i], discarded[i] = !use, false
				}
				for _, d := range s.discards {
					for i := (d.addr - memory) / pageSize4; i < (d.addr+d.n-memory)/pageSize4; i++ {
						if !unused[i] || discarded[i] {
							t.Fatalf("page %d was discarded: unused %v, discarded before %v", i, unused[i], discarded[i])
						}
						discarded[i] = true
					}
				}
				var kept [pages]int
				bytes := uintptr(0)
				for _, k := range vm.unused.ranges {
					bytes += k.n
					for i := (k.addr - memory) / pageSize4; k.n != 0 && i < (k.addr+k.n-memory)/pageSize4; i++ {
						kept[i]++
					}
				}
				for i, n := range kept {
					if n > 1 || (n == 1) != (unused[i] && !discarded[i]) {
						t.Fatalf("page %d is kept %d times: unused %v, discarded %v", i, n, unused[i], discarded[i])
					}
				}
				if bytes != vm.unused.bytes || bytes > simMemory/vmUnusedShare {
					t.Fatalf("%d bytes are kept, and %d counted, of at most %d", bytes, vm.unused.bytes, simMemory/vmUnusedShare)
				}
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// Ranges are discarded in the order in which they came, and one that is too large is
// not kept at all.
func TestOldestUnusedPagesGoFirst(t *testing.T) {
	s := newSim(t, 1, 1)
	const memory = uintptr(0x10_0000_0000)
	s.run(func(p *program) {
		p.call(nrMadvise, memory, vmUnusedMost+pageSize4, adviceUnused)
		want(s, "large ranges discarded", len(s.discards), 1)
		s.discards = nil
		const size = 32 << 10
		for i := range uintptr(simMemory/vmUnusedShare/size + 3) {
			p.call(nrMadvise, memory+i*2*size, size, adviceUnused)
		}
		if want := []vmRange{{memory, size}, {memory + 2*size, size}, {memory + 4*size, size}}; !slices.Equal(s.discards, want) {
			t.Errorf("discarded %x instead of %x", s.discards, want)
		}
		p.call(nrMadvise, memory, size, 4) // MADV_DONTNEED
		want(s, "discards", len(s.discards), 4)
		p.call(nrMunmap, memory+6*size, size)
		want(s, "kept bytes after munmap", vm.unused.bytes, simMemory/vmUnusedShare-size)
	})
}
