// Package mm is the table of what the program mapped with mmap(2). The table has the
// kind of memory at each address. It decides what munmap, mprotect, madvise and
// mremap may do, and what /proc/self/maps shows. Package mm stands on package
// platform; package sys/memory calls it. The runtime's own memory is not in the table.
//
// The platform has anonymous memory only, and no page tables to edit. So there are
// limits:
//   - A shared mapping of a file is the file's own memory. It is writable even with
//     PROT_READ alone, and mprotect does not change it.
//   - A shared mapping of a file has no choice of address (MAP_FIXED). So a program
//     cannot map one file twice side by side.
//   - A private mapping of a file is a copy that mmap makes. Its length costs time and
//     memory, and later changes to the file do not show.
//   - Touching a page beyond the end of a shared file raises SIGSEGV where Linux raises
//     SIGBUS. To a Go program both are the same fault. A private mapping has zeros
//     there.
//   - Memory cannot be made executable: the platform refuses it.
package mm

import (
	"slices"
	"sort"
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Backing is an object whose own memory is mapped. Each mapping holds a
// reference.
type Backing interface {
	Retain()
	Release()
	// Extend reports whether a mapping that begins at offset off may become
	// length bytes long in place.
	Extend(off, length int64) bool
}

// Backed is a file.Mapper whose shared mappings are the memory of an object.
// Its Map takes the first reference.
type Backed interface {
	Backing() Backing
}

// Mapping is a range of addresses.
type Mapping struct {
	Start, End uintptr // page-aligned; End is not part of it
	Prot       int     // PROT_*
	Shared     bool
	Name       string  // path of the file; empty: anonymous
	Off        int64   // offset in the file
	Backing    Backing // nil: the mapping's own memory
}

var (
	mu    sync.Mutex
	table []Mapping // sorted by Start; ranges overlap only if one object is mapped twice
)

// Add records m. The caller holds the reference to m.Backing, and passes it on.
func Add(m Mapping) {
	mu.Lock()
	defer mu.Unlock()
	insert(m)
}

func insert(m Mapping) {
	i := sort.Search(len(table), func(i int) bool { return table[i].Start > m.Start })
	table = slices.Insert(table, i, m)
}

// All returns the mappings by address, for /proc/self/maps.
func All() []Mapping {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(table)
}

// MapAnonymous is mmap(2) with MAP_ANONYMOUS. With MAP_FIXED it replaces only what the
// program has mapped there.
func MapAnonymous(addr, length uintptr, prot, flags int) (uintptr, linux.Errno) {
	mu.Lock()
	defer mu.Unlock()
	if flags&linux.MAP_FIXED != 0 {
		switch parts, covered := overlapping(addr, addr+length); {
		case len(parts) == 0:
			flags = flags&^linux.MAP_FIXED | linux.MAP_FIXED_NOREPLACE
		case !covered || slices.ContainsFunc(parts, func(m Mapping) bool { return m.Backing != nil }):
			return 0, linux.ENOMEM
		}
	}
	const passed = linux.MAP_FIXED | linux.MAP_FIXED_NOREPLACE | linux.MAP_NORESERVE | linux.MAP_STACK | linux.MAP_POPULATE
	at, errno := platform.Map(addr, length, prot, flags&passed)
	if errno != 0 {
		return 0, errno
	}
	cut(at, at+length)
	insert(Mapping{Start: at, End: at + length, Prot: prot, Shared: flags&linux.MAP_TYPE != linux.MAP_PRIVATE})
	return at, 0
}

// overlapping returns the parts of mappings between start and end. It reports whether
// they cover the whole range.
func overlapping(start, end uintptr) (parts []Mapping, covered bool) {
	covered = true
	reached := start
	for _, m := range table {
		if m.End <= start || m.Start >= end {
			continue
		}
		m = m.part(max(m.Start, start), min(m.End, end))
		covered = covered && m.Start <= reached
		reached = max(reached, m.End)
		parts = append(parts, m)
	}
	return parts, covered && reached >= end
}

// part returns the part of m from start to end.
func (m Mapping) part(start, end uintptr) Mapping {
	m.Off += int64(start - m.Start)
	m.Start, m.End = start, end
	return m
}

// cut removes the range from start to end from the table and returns its mappings. If
// one object is mapped there twice, cut removes only the mapping with exactly this
// range.
func cut(start, end uintptr) (gone []Mapping) {
	if i := slices.IndexFunc(table, func(m Mapping) bool { return m.Start == start && m.End == end }); i >= 0 {
		gone = append(gone, table[i])
		table = slices.Delete(table, i, i+1)
		return gone
	}
	old := table
	table = nil
	for _, m := range old {
		if m.End <= start || m.Start >= end {
			table = append(table, m)
			continue
		}
		pieces := 0
		if m.Start < start {
			table = append(table, m.part(m.Start, start))
			pieces++
		}
		if m.End > end {
			table = append(table, m.part(end, m.End))
			pieces++
		}
		gone = append(gone, m.part(max(m.Start, start), min(m.End, end)))
		for ; pieces > 0 && m.Backing != nil; pieces-- {
			m.Backing.Retain()
		}
	}
	sort.Slice(table, func(i, j int) bool { return table[i].Start < table[j].Start })
	return gone
}

// Unmap is munmap(2). It leaves alone what is not in the table.
func Unmap(start, length uintptr) linux.Errno {
	mu.Lock()
	defer mu.Unlock()
	return unmap(start, start+length)
}

func unmap(start, end uintptr) linux.Errno {
	for _, m := range cut(start, end) {
		if m.Backing != nil {
			m.Backing.Release()
		} else if errno := platform.Unmap(m.Start, m.End-m.Start); errno != 0 {
			return errno
		}
	}
	return 0
}

// Protect is mprotect(2).
func Protect(start, length uintptr, prot int) linux.Errno {
	mu.Lock()
	defer mu.Unlock()
	parts, covered := overlapping(start, start+length)
	if !covered {
		return linux.ENOMEM
	}
	for _, m := range parts {
		if m.Backing != nil {
			continue
		}
		if errno := platform.Protect(m.Start, m.End-m.Start, prot); errno != 0 {
			return errno
		}
		cut(m.Start, m.End)
		m.Prot = prot
		insert(m)
	}
	return 0
}

// Advise is madvise(2). Advice on a file's memory has no effect: it could lose the
// file's data.
func Advise(start, length uintptr, advice int) linux.Errno {
	mu.Lock()
	defer mu.Unlock()
	parts, covered := overlapping(start, start+length)
	for _, m := range parts {
		if m.Backing != nil || m.Name != "" {
			continue
		}
		if errno := platform.Advise(m.Start, m.End-m.Start, advice); errno != 0 {
			return errno
		}
	}
	if !covered {
		return linux.ENOMEM
	}
	return 0
}

// Covered reports whether all of a range is mapped.
func Covered(start, length uintptr) bool {
	mu.Lock()
	defer mu.Unlock()
	_, covered := overlapping(start, start+length)
	return covered
}

// Remap is mremap(2); mayMove is MREMAP_MAYMOVE. Anonymous memory grows by moving, a
// file's memory in place.
func Remap(start, oldLen, newLen uintptr, mayMove bool) (uintptr, linux.Errno) {
	mu.Lock()
	defer mu.Unlock()
	i := slices.IndexFunc(table, func(m Mapping) bool { return m.Start <= start && start+oldLen <= m.End })
	if i < 0 {
		return 0, linux.EFAULT
	}
	m := table[i]
	switch {
	case newLen == oldLen:
		return start, 0
	case newLen < oldLen:
		return start, unmap(start+newLen, start+oldLen)
	case m.Backing != nil:
		if start+oldLen != m.End || !m.Backing.Extend(m.Off, int64(start-m.Start+newLen)) {
			return 0, linux.ENOMEM
		}
		table[i].End = start + newLen
		return start, 0
	case !mayMove:
		return 0, linux.ENOMEM
	}
	return relocate(m.part(start, start+oldLen), newLen)
}

// relocate moves anonymous memory to a larger place.
func relocate(m Mapping, length uintptr) (uintptr, linux.Errno) {
	const rw = linux.PROT_READ | linux.PROT_WRITE
	to, errno := platform.Map(0, length, rw, 0)
	if errno != 0 {
		return 0, errno
	}
	size := m.End - m.Start
	if m.Prot&linux.PROT_READ == 0 {
		errno = platform.Protect(m.Start, size, rw)
	}
	if errno == 0 {
		copy(bytes(to, length), bytes(m.Start, size))
		errno = platform.Unmap(m.Start, size)
	}
	if errno == 0 && m.Prot != rw {
		errno = platform.Protect(to, length, m.Prot)
	}
	if errno != 0 {
		return 0, errno
	}
	cut(m.Start, m.End)
	m.Start, m.End = to, to+length
	insert(m)
	return to, 0
}

func bytes(addr, n uintptr) []byte { return unsafe.Slice((*byte)(platform.Pointer(addr)), n) }
