package kvm

import (
	"bytes"
	"encoding/binary"
	"os"
	"unsafe"

	"github.com/pith-os/pith/internal/instance"

	"golang.org/x/sys/unix"
)

// Guest-physical addresses and values for the structures of the PVH boot ABI (Xen,
// docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h).
const (
	startInfoAddr = 0x1000
	memoryMapAddr = 0x2000
	modulesAddr   = 0x3000
	lineAddr      = 0x10000 // boot parameters up to lineEnd; longer ones follow the image
	lineEnd       = 0x90000

	startMagic   = 0x336ec578
	startVersion = 1
	memoryRAM    = 1

	noteEntry = 18 // XEN_ELFNOTE_PHYS32_ENTRY
	noteName  = "Xen\x00"
)

// findEntry finds the note with the image's entry. A note consists of the sizes of its name
// and value, a type, the name and the value. Name and value are padded to 4 bytes.
func findEntry(order binary.ByteOrder, notes []byte) (uint64, bool) {
	for len(notes) >= 12 {
		name, value := uint64(order.Uint32(notes)), uint64(order.Uint32(notes[4:]))
		kind := order.Uint32(notes[8:])
		at := 12 + (name+3)&^3
		next := at + (value+3)&^3
		if next > uint64(len(notes)) {
			return 0, false
		}
		if kind == noteEntry && bytes.Equal(notes[12:12+name], []byte(noteName)) {
			switch value {
			case 4:
				return uint64(order.Uint32(notes[at:])), true
			case 8:
				return order.Uint64(notes[at:]), true
			}
		}
		notes = notes[next:]
	}
	return 0, false
}

// writeStart writes the start information. It passes the boot parameters as a boot module
// and not as the command line, because only a module has an explicit length.
func (m *memory) writeStart(line string) error {
	at := uint64(lineAddr)
	if len(line) >= lineEnd-lineAddr {
		at = m.ram[1].addr
	}
	text, ok := m.queue.Slice(at, uint64(len(line)))
	if !ok {
		return instance.Errorf(instance.Memory, "%d bytes of boot parameters do not fit: give more", len(line))
	}
	copy(text, line)

	le := binary.LittleEndian
	var table []byte
	entries := uint32(0)
	add := func(addr, size uint64) {
		table = le.AppendUint64(le.AppendUint64(table, addr), size)
		table = le.AppendUint64(table, memoryRAM)
		entries++
	}
	add(0, min(m.size, lowEnd))
	if m.size > lowEnd {
		add(highStart, m.size-lowEnd)
	}
	info := le.AppendUint32(nil, startMagic)
	info = le.AppendUint32(info, startVersion)
	info = le.AppendUint32(info, 0) // flags
	info = le.AppendUint32(info, 1) // modules
	for _, v := range []uint64{modulesAddr, 0, 0, memoryMapAddr, uint64(entries)} {
		info = le.AppendUint64(info, v)
	}
	var modules []byte
	for _, v := range []uint64{at, uint64(len(line)), 0, 0} {
		modules = le.AppendUint64(modules, v)
	}
	copy(m.ram[0].mem[modulesAddr:], modules)
	copy(m.ram[0].mem[startInfoAddr:], info)
	copy(m.ram[0].mem[memoryMapAddr:], table)
	return nil
}

// remap maps a part of a file over memory that is already mapped.
func remap(over []byte, file *os.File, off int64, access int) error {
	_, _, errno := unix.Syscall6(unix.SYS_MMAP, uintptr(unsafe.Pointer(unsafe.SliceData(over))), uintptr(len(over)),
		uintptr(access), unix.MAP_PRIVATE|unix.MAP_FIXED, file.Fd(), uintptr(off))
	if errno != 0 {
		return os.NewSyscallError("mmap", errno)
	}
	return nil
}
