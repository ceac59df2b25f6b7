package memory

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/mm"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/memfs"
)

// noEffect is the handler of a call that has nothing to do.
func noEffect(*call.Args) (uintptr, linux.Errno) { return 0, 0 }

const pageMask = platform.PageSize - 1

// pages rounds n bytes up to whole pages, in bytes. It returns 0 if n is too large.
func pages(n uintptr) uintptr {
	if n > 1<<47 {
		return 0
	}
	return (n + pageMask) &^ pageMask
}

func mmap(a *call.Args) (uintptr, linux.Errno) {
	addr, prot, flags := a.A0, int(a.A2), int(uint32(a.A3))
	length := pages(a.A1)
	typ := flags & linux.MAP_TYPE
	switch {
	case a.A1 == 0 || a.A5&pageMask != 0 || typ < linux.MAP_SHARED || typ > linux.MAP_SHARED_VALIDATE,
		addr&pageMask != 0 && flags&linux.MAP_FIXED != 0:
		return 0, linux.EINVAL
	case length == 0 || flags&linux.MAP_HUGETLB != 0:
		return 0, linux.ENOMEM
	case prot&linux.PROT_EXEC != 0:
		return 0, linux.EACCES
	}
	if flags&linux.MAP_ANONYMOUS != 0 {
		return mm.MapAnonymous(addr&^pageMask, length, prot, flags)
	}
	f, errno := call.File(a.A4)
	if errno != 0 || vfs.IsPath(f) {
		return 0, linux.EBADF
	}
	return mapFile(f, length, prot, flags, int64(a.A5))
}

func mapFile(f file.File, length uintptr, prot, flags int, off int64) (uintptr, linux.Errno) {
	m, ok := f.(file.Mapper)
	switch {
	case !ok:
		return 0, linux.ENODEV
	case flags&(linux.MAP_FIXED|linux.MAP_FIXED_NOREPLACE) != 0:
		// A file's memory does not move: see package mm.
		return 0, linux.ENOTSUP
	case flags&linux.MAP_SYNC != 0:
		return 0, linux.EOPNOTSUPP
	}
	shared := flags&linux.MAP_TYPE != linux.MAP_PRIVATE
	p, errno := m.Map(off, length, prot, shared)
	if errno != 0 {
		return 0, errno
	}
	at := uintptr(p)
	entry := mm.Mapping{Start: at, End: at + length, Prot: prot, Shared: shared, Off: off}
	if b, ok := f.(mm.Backed); ok && shared {
		entry.Backing = b.Backing()
	}
	if d := vfs.DentryOf(f); d != nil {
		entry.Name = d.Path()
	}
	mm.Add(entry)
	return at, 0
}

// span checks the address range of the calls below and returns its length in whole
// pages, in bytes.
func span(addr, n uintptr) (uintptr, linux.Errno) {
	length := pages(n)
	if addr&pageMask != 0 || length == 0 && n != 0 || addr+length < addr {
		return 0, linux.EINVAL
	}
	return length, 0
}

func munmap(a *call.Args) (uintptr, linux.Errno) {
	length, errno := span(a.A0, a.A1)
	if errno != 0 || length == 0 {
		return 0, linux.EINVAL
	}
	return 0, mm.Unmap(a.A0, length)
}

func mprotect(a *call.Args) (uintptr, linux.Errno) {
	length, errno := span(a.A0, a.A1)
	switch {
	case errno != 0 || a.A2&^(linux.PROT_READ|linux.PROT_WRITE|linux.PROT_EXEC) != 0:
		return 0, linux.EINVAL
	case a.A2&linux.PROT_EXEC != 0:
		return 0, linux.EACCES
	case length == 0:
		return 0, 0
	}
	return 0, mm.Protect(a.A0, length, int(a.A2))
}

func madvise(a *call.Args) (uintptr, linux.Errno) {
	length, errno := span(a.A0, a.A1)
	if errno != 0 || length == 0 {
		return 0, errno
	}
	return 0, mm.Advise(a.A0, length, int(int32(a.A2)))
}

// msync is msync(2). It only checks: a shared mapping is the file's own memory.
func msync(a *call.Args) (uintptr, linux.Errno) {
	const known = linux.MS_ASYNC | linux.MS_INVALIDATE | linux.MS_SYNC
	length, errno := span(a.A0, a.A1)
	switch {
	case errno != 0, a.A2&^known != 0, a.A2&linux.MS_ASYNC != 0 && a.A2&linux.MS_SYNC != 0:
		return 0, linux.EINVAL
	case length != 0 && !mm.Covered(a.A0, length):
		return 0, linux.ENOMEM
	}
	return 0, 0
}

func mremap(a *call.Args) (uintptr, linux.Errno) {
	oldLen, newLen, flags := pages(a.A1), pages(a.A2), a.A3
	if a.A0&pageMask != 0 || oldLen == 0 || newLen == 0 || flags&^linux.MREMAP_MAYMOVE != 0 {
		return 0, linux.EINVAL
	}
	return mm.Remap(a.A0, oldLen, newLen, flags&linux.MREMAP_MAYMOVE != 0)
}

func mincore(a *call.Args) (uintptr, linux.Errno) {
	length, errno := span(a.A0, a.A1)
	if errno != 0 {
		return 0, errno
	}
	if !mm.Covered(a.A0, length) {
		return 0, linux.ENOMEM
	}
	out, errno := call.Bytes(a.A2, length/platform.PageSize)
	for i := range out {
		out[i] = 1
	}
	return 0, errno
}

func memfdCreate(a *call.Args) (uintptr, linux.Errno) {
	const known = linux.MFD_CLOEXEC | linux.MFD_ALLOW_SEALING | linux.MFD_NOEXEC_SEAL | linux.MFD_EXEC
	flags := uint32(a.A1)
	if flags&^known != 0 || flags&linux.MFD_EXEC != 0 && flags&linux.MFD_NOEXEC_SEAL != 0 {
		return 0, linux.EINVAL
	}
	name, errno := call.Path(a.A0)
	if errno != 0 {
		return 0, errno
	}
	if len(name) > linux.MFD_NAME_MAX {
		return 0, linux.EINVAL
	}
	perm := uint32(0o777)
	if flags&linux.MFD_NOEXEC_SEAL != 0 {
		perm = 0o666
	}
	f := memfs.NewMemfd(name, perm, flags&(linux.MFD_ALLOW_SEALING|linux.MFD_NOEXEC_SEAL) != 0)
	open := uint32(0)
	if flags&linux.MFD_CLOEXEC != 0 {
		open = linux.O_CLOEXEC
	}
	return call.Install(f, open)
}
