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

// A request has the size of what it points to in its bits 16 to 29 (Linux,
// <asm-generic/ioctl.h>). Of tables that is the part before the entries.
func TestStructsAreAsLargeAsTheirRequestsSay(t *testing.T) {
	size := map[uintptr]uintptr{
		getSupportedCPUID:   unsafe.Offsetof(cpuidTable{}.entries),
		setUserMemoryRegion: unsafe.Sizeof(memoryRegion{}),
		setIdentityMapAddr:  unsafe.Sizeof(uint64(0)),
		registerCoalesced:   unsafe.Sizeof(coalescedZone{}),
		SetGSIRouting:       unsafe.Offsetof(routeTable{}.entries),
		AssignIRQFD:         unsafe.Sizeof(irqEvent{}),
		assignIOEventFD:     unsafe.Sizeof(ioEvent{}),
		enableCap:           unsafe.Sizeof(enabledCapability{}),
		GetRegs:             unsafe.Sizeof(Regs{}),
		setRegs:             unsafe.Sizeof(Regs{}),
		GetSregs:            unsafe.Sizeof(Sregs{}),
		setSregs:            unsafe.Sizeof(Sregs{}),
		getMSRs:             unsafe.Offsetof(msrTable{}.index),
		setMSRs:             unsafe.Offsetof(msrTable{}.index),
		setCPUID2:           unsafe.Offsetof(cpuidTable{}.entries),
	}
	for request, have := range size {
		if want := request >> 16 & 0x3fff; have != want {
			t.Errorf("request %#x is of %d bytes, the struct has %d", request, want, have)
		}
	}
	// Those of entries (<linux/kvm.h>, <asm/kvm.h>).
	for name, sizes := range map[string][2]uintptr{
		"kvm_cpuid_entry2":      {unsafe.Sizeof(CPUID{}), 40},
		"kvm_msr_entry":         {unsafe.Sizeof(msrTable{}) - unsafe.Offsetof(msrTable{}.index), 16},
		"kvm_irq_routing_entry": {unsafe.Sizeof(route{}), 48},
		"kvm_segment":           {unsafe.Sizeof(Segment{}), 24},
		"kvm_dtable":            {unsafe.Sizeof(Table{}), 16},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("struct %s has %d bytes, want %d", name, sizes[0], sizes[1])
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

func TestPortAccess(t *testing.T) {
	c := VCPU{run: make([]byte, 8192)}
	u := c.run[runUnion:]
	u[0], u[1] = 1, 2
	binary.LittleEndian.PutUint16(u[2:], 0xea)
	binary.LittleEndian.PutUint32(u[4:], 3)
	binary.LittleEndian.PutUint64(u[8:], 4096)
	copy(c.run[4096:], "abcdefgh")
	io, err := c.IO()
	if err != nil || io.Port != 0xea || !io.Write || io.Size != 2 || string(io.Data) != "abcdef" {
		t.Errorf("%+v, %v", io, err)
	}
}

// What KVM shares with this process is the kernel's, but a mistake in reading it
// must not be one in memory.
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
		if io, err := c.IO(); err == nil && (io.Size == 0 || len(io.Data)%io.Size != 0) {
			t.Errorf("%+v", io)
		}
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
