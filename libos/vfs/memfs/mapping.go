package memfs

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/mm"
	"github.com/pith-os/pith/libos/platform"
)

// Map implements file.Mapper. A shared mapping is an address in the file's
// region. A private mapping is a copy of the current data.
func (f *openFile) Map(off int64, length uintptr, prot int, shared bool) (unsafe.Pointer, linux.Errno) {
	if !f.readable() || shared && prot&linux.PROT_WRITE != 0 && !f.writable() {
		return nil, linux.EACCES
	}
	if off < 0 || off > maxSize || int64(length) > maxSize-off {
		return nil, linux.EOVERFLOW
	}
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	if shared {
		return f.r.share(off, int64(length), prot)
	}
	return f.r.copy(off, length, prot)
}

// share returns the address in the region of the length bytes from off, and
// takes a reference for the mapping.
func (r *regular) share(off, length int64, prot int) (unsafe.Pointer, linux.Errno) {
	if prot&linux.PROT_WRITE != 0 && r.seals&linux.F_SEAL_WRITE != 0 {
		return nil, linux.EPERM
	}
	if r.region == nil {
		if errno := r.toRegion(max(r.size, off+length)); errno != 0 {
			return nil, errno
		}
	}
	if off+length > r.region.reserved {
		if r.region.maps > 0 {
			return nil, linux.ENOMEM
		}
		if errno := r.region.move(off + length); errno != 0 {
			return nil, errno
		}
	}
	r.region.maps++
	return platform.Pointer(r.region.base + uintptr(off)), 0
}

// toRegion moves the data to a new region with room for size bytes.
func (r *regular) toRegion(size int64) linux.Errno {
	g, errno := newRegion(size)
	if errno != 0 {
		return errno
	}
	// A region has no holes, so every page is charged.
	n := pagesOf(r.size) - r.pages
	if errno := r.fs.charge(n); errno != 0 {
		g.free()
		return errno
	}
	if errno := g.grow(r.size); errno != 0 {
		g.free()
		r.fs.charge(-n)
		return errno
	}
	r.readAt(g.bytes()[:r.size], 0)
	r.pages += n
	r.archive, r.chunks, r.region = nil, chunks{}, g
	return 0
}

// copy makes a private mapping.
func (r *regular) copy(off int64, length uintptr, prot int) (unsafe.Pointer, linux.Errno) {
	addr, errno := platform.Map(0, length, linux.PROT_READ|linux.PROT_WRITE, 0)
	if errno != 0 {
		return nil, errno
	}
	p := platform.Pointer(addr)
	r.readAt(unsafe.Slice((*byte)(p), length), off)
	if prot != linux.PROT_READ|linux.PROT_WRITE {
		if errno := platform.Protect(addr, length, prot); errno != 0 {
			platform.Unmap(addr, length)
			return nil, errno
		}
	}
	return p, 0
}

// Backing implements mm.Backed.
func (f *openFile) Backing() mm.Backing { return f.r }

// Retain implements mm.Backing.
func (r *regular) Retain() {
	r.mu.Lock()
	r.region.maps++
	r.mu.Unlock()
}

// Release implements mm.Backing.
func (r *regular) Release() {
	r.mu.Lock()
	r.region.maps--
	r.mu.Unlock()
	r.reclaim()
}

// Extend implements mm.Backing.
func (r *regular) Extend(off, length int64) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return off+length <= r.region.reserved
}
