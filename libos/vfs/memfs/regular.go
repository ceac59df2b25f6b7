package memfs

import (
	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// maxSize is the largest size of a file in bytes: 16 TiB, as in ext4.
const maxSize = 1 << 44

// regular is a regular file. Its data are in one of three places: the archive,
// chunks, or, once mapped, a region.
type regular struct {
	inode
	size    int64
	archive []byte // read-only, as long as size
	chunks  chunks
	region  *region
	pages   int64 // pages charged to the file system
	opens   int   // open file descriptions
	seals   uint32
}

func (fs *FS) newRegular(perm uint32, nlink uint64) *regular {
	return &regular{inode: fs.newInode(linux.S_IFREG, perm, nlink), seals: linux.F_SEAL_SEAL}
}

// Stat implements vfs.Inode.
func (r *regular) Stat(st *linux.Stat) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	r.stat(st)
	st.Size = r.size
	st.Blocks = r.pages * (pageSize / 512)
	if r.archive != nil {
		st.Blocks = pagesOf(r.size) * (pageSize / 512)
	}
}

// pagesOf returns the number of pages that hold n bytes.
func pagesOf(n int64) int64 { return (n + pageSize - 1) / pageSize }

// SetAttr implements vfs.Inode.
func (r *regular) SetAttr(a *vfs.Attr) linux.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Valid&vfs.AttrSize != 0 {
		if errno := r.truncate(a.Size); errno != 0 {
			return errno
		}
	}
	if a.Valid&^vfs.AttrSize != 0 {
		r.setAttr(a)
	}
	return 0
}

// The methods below are called with r.mu held, for writing if they change data.

// readAt reads at off. It returns 0 at the end of the file.
func (r *regular) readAt(p []byte, off int64) int {
	if off >= r.size {
		return 0
	}
	p = p[:min(int64(len(p)), r.size-off)]
	switch {
	case r.archive != nil:
		copy(p, r.archive[off:])
	case r.region != nil:
		copy(p, r.region.bytes()[off:])
	default:
		r.chunks.read(p, off)
	}
	return len(p)
}

// writeAt writes at off.
func (r *regular) writeAt(p []byte, off int64) (int, linux.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	if off >= maxSize {
		return 0, linux.EFBIG
	}
	p = p[:min(int64(len(p)), maxSize-off)]
	end := off + int64(len(p))
	if r.seals&linux.F_SEAL_WRITE != 0 || end > r.size && r.seals&linux.F_SEAL_GROW != 0 {
		return 0, linux.EPERM
	}
	if errno := r.reserve(off, end); errno != 0 {
		return 0, errno
	}
	if r.region != nil {
		copy(r.region.bytes()[off:], p)
	} else {
		r.chunks.write(p, off)
	}
	r.size = max(r.size, end)
	r.modified()
	return len(p), 0
}

// modified sets the times after a change of the data. It clears set-ID bits
// that the program has no privilege to keep (inode(7)).
func (r *regular) modified() {
	if r.perm&(linux.S_ISUID|linux.S_ISGID) != 0 && !cred.Has(linux.CAP_FSETID) {
		r.dropSetID()
	}
	r.mtime = vfs.Now()
	r.ctime = r.mtime
}

// reserve prepares the bytes [off, end) for a write: it charges their pages and
// grows the region.
func (r *regular) reserve(off, end int64) linux.Errno {
	if errno := r.copyUp(); errno != 0 {
		return errno
	}
	if r.region == nil {
		n := r.chunks.missing(off, end-off)
		if errno := r.fs.charge(n); errno != 0 {
			return errno
		}
		r.pages += n
		return 0
	}
	n := max(0, pagesOf(end)-r.pages)
	if errno := r.fs.charge(n); errno != 0 {
		return errno
	}
	if errno := r.region.grow(end); errno != 0 {
		r.fs.charge(-n)
		return errno
	}
	r.pages += n
	return 0
}

// copyUp copies the file's data from the archive to chunks.
func (r *regular) copyUp() linux.Errno {
	if r.archive == nil {
		return 0
	}
	n := pagesOf(r.size)
	if errno := r.fs.charge(n); errno != 0 {
		return errno
	}
	r.pages = n
	r.chunks.write(r.archive, 0)
	r.archive = nil
	return 0
}

// truncate sets the size.
func (r *regular) truncate(size int64) linux.Errno {
	switch {
	case size < 0:
		return linux.EINVAL
	case size > maxSize:
		return linux.EFBIG
	case size < r.size && r.seals&linux.F_SEAL_SHRINK != 0,
		size > r.size && r.seals&linux.F_SEAL_GROW != 0:
		return linux.EPERM
	}
	if size == 0 {
		r.archive = nil
	}
	if errno := r.copyUp(); errno != 0 {
		return errno
	}
	if r.region != nil {
		if errno := r.resizeRegion(size); errno != 0 {
			return errno
		}
	} else if size <= r.size {
		r.uncharge(r.chunks.cut(size))
	}
	r.size = size
	r.modified()
	return 0
}

func (r *regular) resizeRegion(size int64) linux.Errno {
	n := pagesOf(size) - r.pages
	if errno := r.fs.charge(n); errno != 0 {
		return errno
	}
	if errno := r.region.grow(size); errno != 0 {
		r.fs.charge(-n)
		return errno
	}
	if size < r.size {
		r.region.discard(size, r.size)
	}
	r.pages += n
	return 0
}

func (r *regular) uncharge(pages int64) {
	r.pages -= pages
	r.fs.charge(-pages)
}

// fallocate is fallocate(2) for ordinary allocation and for FALLOC_FL_KEEP_SIZE,
// FALLOC_FL_PUNCH_HOLE and FALLOC_FL_ZERO_RANGE.
func (r *regular) fallocate(mode uint32, off, n int64) linux.Errno {
	punch := mode&linux.FALLOC_FL_PUNCH_HOLE != 0
	zero := mode&linux.FALLOC_FL_ZERO_RANGE != 0
	keep := mode&linux.FALLOC_FL_KEEP_SIZE != 0
	switch {
	case off+n > maxSize:
		return linux.EFBIG
	case (punch || zero) && r.seals&linux.F_SEAL_WRITE != 0,
		!keep && off+n > r.size && r.seals&linux.F_SEAL_GROW != 0:
		return linux.EPERM
	case !punch && r.fs.limit != 0 && n/pageSize > r.fs.limit: // fails early, before the loops over n bytes
		return linux.ENOSPC
	}
	if errno := r.copyUp(); errno != 0 {
		return errno
	}
	if punch || zero {
		r.zero(off, n)
	}
	if !punch {
		if errno := r.reserve(off, off+n); errno != 0 {
			return errno
		}
		if r.region == nil {
			r.chunks.allocate(off, n)
		}
		if !keep {
			r.size = max(r.size, off+n)
		}
	}
	r.modified()
	return 0
}

// zero zeroes a range; whole pages in it become holes.
func (r *regular) zero(off, n int64) {
	if r.region != nil {
		usable := r.region.usable
		r.region.discard(min(off, usable), min(off+n, usable))
		return
	}
	r.uncharge(r.chunks.zero(off, n))
}

// seek is SEEK_DATA and SEEK_HOLE (lseek(2)).
func (r *regular) seek(off int64, data bool) (int64, linux.Errno) {
	if off < 0 || off >= r.size {
		return 0, linux.ENXIO
	}
	if r.archive != nil || r.region != nil {
		if data {
			return off, 0
		}
		return r.size, 0
	}
	at := r.chunks.seek(off, r.size, data)
	switch {
	case at >= 0 && at < r.size:
		return at, 0
	case data:
		return 0, linux.ENXIO
	}
	return r.size, 0
}

// reclaim frees the data when no name, open file or mapping is left. It unmaps
// the region; the garbage collector frees the heap.
func (r *regular) reclaim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nlink > 0 || r.opens > 0 || r.region != nil && r.region.maps > 0 {
		return
	}
	r.uncharge(r.pages)
	if r.region != nil {
		r.region.free()
	}
	r.archive, r.chunks, r.region, r.size = nil, chunks{}, nil, 0
}
