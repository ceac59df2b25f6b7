package vhostuser

import (
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// memory is the guest memory that the front end shares.
type memory struct {
	*virtqueue.Memory
	ranges []userRange
	maps   [][]byte
}

// userRange maps size bytes from the front end's address user to the
// guest-physical address guest.
type userRange struct{ user, guest, size uint64 }

// guest returns the guest-physical address of an address of the front end. It
// reports false if the address is in no region.
func (m *memory) guest(user uint64) (uint64, bool) {
	for _, r := range m.ranges {
		if user >= r.user && user-r.user < r.size {
			return user - r.user + r.guest, true
		}
	}
	return 0, false
}

// mapMemory maps the regions of a SET_MEM_TABLE message: nregions u32, padding u32,
// and for each region its guest-physical address, size, front end's address and
// offset in its file, each u64. The descriptors stay the message's.
func mapMemory(table []byte, fds []int) (_ *memory, err error) {
	if len(table) < 8 {
		return nil, errors.New("the table is cut off")
	}
	n := le.Uint32(table)
	if n == 0 || n > maxRegions || len(table) != 8+int(n)*regionSize || len(fds) != int(n) {
		return nil, fmt.Errorf("%d regions in %d bytes with %d descriptors", n, len(table), len(fds))
	}
	m := &memory{}
	defer func() {
		if err != nil {
			m.unmap()
		}
	}()
	var regions []virtqueue.Region
	for i, fd := range fds {
		e := table[8+i*regionSize:]
		guest, size, user, offset := le.Uint64(e), le.Uint64(e[8:]), le.Uint64(e[16:]), le.Uint64(e[24:])
		if size == 0 || size > math.MaxInt64 || size-1 > math.MaxUint64-user {
			return nil, fmt.Errorf("region %d: %#x bytes at the front end's %#x", i, size, user)
		}
		b, err := mapRegion(fd, offset, size)
		if err != nil {
			return nil, fmt.Errorf("region %d at %#x: %w", i, guest, err)
		}
		m.maps = append(m.maps, b)
		m.ranges = append(m.ranges, userRange{user, guest, size})
		regions = append(regions, virtqueue.Region{Addr: guest, Mem: b})
	}
	m.Memory, err = virtqueue.NewMemory(regions)
	return m, err
}

// mapRegion maps a part of a file. The file must be sealed against shrinking,
// because an access beyond its end would raise SIGBUS.
func mapRegion(fd int, offset, size uint64) ([]byte, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 {
		return nil, errors.New("not a memfd that is sealed against shrinking (with QEMU: -object memory-backend-memfd,share=on)")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if end := uint64(st.Size); offset > end || size > end-offset {
		return nil, fmt.Errorf("%#x bytes from %#x of a file of %#x", size, offset, end)
	}
	b, err := unix.Mmap(fd, int64(offset), int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return b, os.NewSyscallError("mmap", err)
}

// unmap unmaps the memory. No queue in it may be in use.
func (m *memory) unmap() {
	if m == nil {
		return
	}
	for _, b := range m.maps {
		_ = unix.Munmap(b) // cannot fail: b is a whole mapping
	}
	m.maps = nil
}
