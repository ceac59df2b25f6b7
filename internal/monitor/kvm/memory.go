package kvm

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	// The memory has a gap from lowEnd to highStart. The gap is for devices, the vCPUs'
	// APICs, and KVM's own pages.
	lowEnd    = 3 << 30
	highStart = 4 << 30
)

// span is a range of guest-physical memory.
type span struct {
	addr uint64
	mem  []byte
}

// memory is the guest's memory. Its RAM is one file, which other processes may map, too. The
// image is a private mapping of its file, as with execve(2). So instances of one image share
// the pages that they do not write.
type memory struct {
	file  *os.File
	size  uint64
	ram   []span // without the image's range
	image span
	queue *virtqueue.Memory // ram
}

// newMemory makes size bytes of memory and maps the image.
func newMemory(size uint64, image *os.File, huge bool) (*memory, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if huge {
		flags |= unix.MFD_HUGETLB
	}
	fd, err := unix.MemfdCreate("memory", flags)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	m := &memory{file: os.NewFile(uintptr(fd), "memory"), size: size}
	if err := m.file.Truncate(int64(size)); err != nil {
		return nil, fmt.Errorf("memory of %d bytes: %w", size, err)
	}
	// Other processes map the file and rely on its size.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, fmt.Errorf("memory of %d bytes: %w", size, os.NewSyscallError("fcntl", err))
	}
	all, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map memory of %d bytes: %w", size, err)
	}
	low := min(size, lowEnd)
	if m.image, err = mapImage(image, low); err != nil {
		return nil, err
	}
	end := m.image.addr + uint64(len(m.image.mem))
	m.ram = []span{{0, all[:m.image.addr]}, {end, all[end:low]}}
	if size > low {
		m.ram = append(m.ram, span{highStart, all[low:]})
	}
	regions := make([]virtqueue.Region, len(m.ram))
	for i, s := range m.ram {
		regions[i] = virtqueue.Region{Addr: s.addr, Mem: s.mem}
	}
	m.queue, err = virtqueue.NewMemory(regions)
	return m, err
}

// give maps the memory into vm.
func (m *memory) give(vm *kvm.VM) error {
	for i, s := range append(m.ram, m.image) {
		if err := vm.SetMemory(i, s.addr, s.mem); err != nil {
			return err
		}
	}
	return nil
}

// offset returns the offset in the RAM's file of the guest-physical address addr.
func offset(addr uint64) uint64 {
	if addr >= highStart {
		return addr - highStart + lowEnd
	}
	return addr
}

// mapImage maps the segments of an image. They must end below end.
func mapImage(image *os.File, end uint64) (span, error) {
	f, err := elf.NewFile(image)
	if err != nil {
		return span{}, fmt.Errorf("read %s: %w", image.Name(), err)
	}
	info, err := image.Stat()
	if err != nil {
		return span{}, err
	}
	first, last := ^uint64(0), uint64(0)
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		if p.Memsz < p.Filesz || p.Off+p.Filesz > uint64(info.Size()) ||
			p.Paddr < lineEnd || p.Paddr > lowEnd || p.Memsz > lowEnd-p.Paddr || (p.Paddr-p.Off)%pageSize != 0 {
			return span{}, fmt.Errorf("read %s: a segment of %d bytes at %#x, %d of them in the file at %#x, cannot be mapped",
				image.Name(), p.Memsz, p.Paddr, p.Filesz, p.Off)
		}
		first, last = min(first, p.Paddr&^(pageSize-1)), max(last, p.Paddr+p.Memsz)
	}
	if first >= last {
		return span{}, fmt.Errorf("read %s: it has no segment to load", image.Name())
	}
	last = (last + pageSize - 1) &^ (pageSize - 1)
	if err := guest.CheckMemory(end, last); err != nil {
		return span{}, err
	}
	s := span{addr: first}
	s.mem, err = unix.Mmap(-1, 0, int(last-first), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return span{}, os.NewSyscallError("mmap", err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Filesz > 0 {
			err = errors.Join(err, s.mapSegment(image, p))
		}
	}
	return s, err
}

// mapSegment maps the part of a segment that is in the file. It clears the rest of the last
// page.
func (s span) mapSegment(image *os.File, p *elf.Prog) error {
	const pages = pageSize - 1
	at := p.Paddr - s.addr
	start, end := at&^pages, (at+p.Filesz+pages)&^pages
	access := unix.PROT_READ
	if p.Flags&elf.PF_W != 0 {
		access |= unix.PROT_WRITE
	}
	if err := remap(s.mem[start:end], image, int64(p.Off&^pages), access); err != nil {
		return fmt.Errorf("map %s: %w", image.Name(), err)
	}
	if p.Flags&elf.PF_W != 0 {
		clear(s.mem[at+p.Filesz : end])
	}
	return nil
}

// entry returns the guest-physical address of the image's entry, from its note
// XEN_ELFNOTE_PHYS32_ENTRY (PVH).
func entry(image *os.File) (uint64, error) {
	f, err := elf.NewFile(image)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", image.Name(), err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(p.Open(), 1<<20))
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", image.Name(), err)
		}
		if addr, ok := findEntry(f.ByteOrder, notes); ok {
			return addr, nil
		}
	}
	return 0, fmt.Errorf("%s does not boot: it has no note of its entry (PVH)", image.Name())
}
