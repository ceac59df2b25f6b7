package memfs

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// anonymous is the file system of memfds. It is not mounted.
var anonymous = sync.OnceValue(func() *FS { return New(0) })

// Memfd is an open file made by memfd_create(2).
type Memfd struct{ openFile }

// NewMemfd makes a file that is in no directory. Without sealing, F_SEAL_SEAL
// is set, so no other seal can be added.
func NewMemfd(name string, perm uint32, sealing bool) *Memfd {
	r := anonymous().newRegular(perm, 0)
	if sealing {
		r.seals = 0
	}
	d := vfs.NewDentry(nil, "/memfd:"+name, r)
	d.Delete()
	r.Pin()
	f := &Memfd{openFile{r: r, dentry: d}}
	f.Init(linux.O_RDWR | linux.O_LARGEFILE)
	return f
}

// Release implements file.File. It passes f, not the embedded openFile, because
// locks belong to the Memfd.
func (f *Memfd) Release() {
	f.dentry.Closed(f)
	f.r.Unpin()
}

// Seals is F_GET_SEALS.
func (f *Memfd) Seals() (uint32, linux.Errno) {
	f.r.mu.RLock()
	defer f.r.mu.RUnlock()
	return f.r.seals, 0
}

// AddSeals is F_ADD_SEALS (fcntl(2), "File Sealing"). F_SEAL_FUTURE_WRITE acts
// like F_SEAL_WRITE, which requires that no shared mapping exists: every shared
// mapping is writable.
func (f *Memfd) AddSeals(seals uint32) linux.Errno {
	const known = linux.F_SEAL_SEAL | linux.F_SEAL_SHRINK | linux.F_SEAL_GROW | linux.F_SEAL_WRITE | linux.F_SEAL_FUTURE_WRITE
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	switch {
	case seals&^uint32(known) != 0:
		return linux.EINVAL
	case f.r.seals&linux.F_SEAL_SEAL != 0:
		return linux.EPERM
	case seals&linux.F_SEAL_WRITE != 0 && f.r.region != nil && f.r.region.maps > 0:
		return linux.EBUSY
	}
	if seals&linux.F_SEAL_FUTURE_WRITE != 0 {
		seals |= linux.F_SEAL_WRITE
	}
	f.r.seals |= seals
	return 0
}
