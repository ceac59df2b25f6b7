package kvm

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// Bits 16 to 29 of a request hold the size of its argument's struct (Linux,
// <asm-generic/ioctl.h>). For a table this size excludes the entries.
func TestStructsAreAsLargeAsTheirRequestsSay(t *testing.T) {
	haveSizes(t, map[uintptr]uintptr{
		setUserMemoryRegion: unsafe.Sizeof(memoryRegion{}),
		registerCoalesced:   unsafe.Sizeof(coalescedZone{}),
		SetGSIRouting:       unsafe.Offsetof(routeTable{}.entries),
		AssignIRQFD:         unsafe.Sizeof(irqEvent{}),
		assignIOEventFD:     unsafe.Sizeof(ioEvent{}),
		enableCap:           unsafe.Sizeof(enabledCapability{}),
	})
	// The size of an entry (<linux/kvm.h>).
	if n := unsafe.Sizeof(route{}); n != 48 {
		t.Errorf("struct kvm_irq_routing_entry has %d bytes, want 48", n)
	}
}

// haveSizes compares the sizes of structs with the sizes in their requests.
func haveSizes(t *testing.T, size map[uintptr]uintptr) {
	t.Helper()
	for request, have := range size {
		if want := request >> 16 & 0x3fff; have != want {
			t.Errorf("request %#x has a size of %d bytes, the struct has %d", request, want, have)
		}
	}
}

func TestWithoutKVMTheUserHearsWhatToDo(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]struct {
		err  error
		says string
	}{
		filepath.Join(dir, "kvm"): {fs.ErrNotExist, "load the module kvm_intel or kvm_amd"},
		filepath.Join(dir, "."):   {nil, "is a directory"},
	} {
		if f, err := open(name); err == nil {
			f.Close()
			t.Errorf("%s: opened", name)
		} else if want.err != nil && !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := explain(&fs.PathError{Op: "open", Path: Device, Err: fs.ErrPermission}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "group kvm") {
		t.Error(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := New(int(null.Fd())); err == nil || !strings.Contains(err.Error(), "KVM_GET_API_VERSION") {
		t.Errorf("/dev/null as KVM: %v", err)
	}
}

// The kernel writes the memory that KVM shares with this process. Whatever it holds,
// reading it must not access memory outside of it.
func FuzzSharedMemory(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{1, 4, 0xea, 0, 1, 0, 0, 0, 0, 1}, []byte{0, 0, 0, 0, 1, 0, 0, 0})
	f.Add([]byte{1, 255, 0xea, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, []byte{255, 255, 255, 255, 1})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 1}, []byte{3, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, union, ring []byte) {
		const page = 4096
		c := VCPU{run: make([]byte, 3*page)}
		c.ring = c.run[2*page:]
		copy(c.run[runUnion:page], union)
		copy(c.ring, ring)
		checkPortAccess(t, &c)
		if m := c.MMIO(); len(m.Data) > 8 {
			t.Errorf("%d bytes", len(m.Data))
		}
		n := 0
		c.Coalesced(func(m MMIO) {
			if n++; n > page/ringEntrySize || len(m.Data) > 8 {
				t.Fatalf("write %d: %+v", n, m)
			}
		})
	})
}

func TestCoalescedWritesComeOnceAndInOrder(t *testing.T) {
	const page = 4096
	c := VCPU{ring: make([]byte, page)}
	const slots = (page - ringEntries) / ringEntrySize
	first := uint32(slots - 2) // around the end
	binary.LittleEndian.PutUint32(c.ring, first)
	binary.LittleEndian.PutUint32(c.ring[4:], 3)
	for i := range uint32(5) {
		e := c.ring[ringEntries+(first+i)%slots*ringEntrySize:]
		binary.LittleEndian.PutUint64(e, uint64(0x1000+i))
		binary.LittleEndian.PutUint32(e[8:], 4)
		binary.LittleEndian.PutUint32(e[16:], i)
	}
	for _, want := range []uint32{5, 0} {
		var n uint32
		c.Coalesced(func(m MMIO) {
			if m.Addr != uint64(0x1000+n) || !m.Write || len(m.Data) != 4 || binary.LittleEndian.Uint32(m.Data) != n {
				t.Errorf("write %d is %+v", n, m)
			}
			n++
		})
		if n != want {
			t.Errorf("%d writes, want %d", n, want)
		}
	}
}
