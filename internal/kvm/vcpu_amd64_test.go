package kvm

import (
	"encoding/binary"
	"testing"
	"unsafe"
)

func TestX86StructsAreAsLargeAsTheirRequestsSay(t *testing.T) {
	haveSizes(t, map[uintptr]uintptr{
		getSupportedCPUID:  unsafe.Offsetof(cpuidTable{}.entries),
		setIdentityMapAddr: unsafe.Sizeof(uint64(0)),
		GetRegs:            unsafe.Sizeof(Regs{}),
		setRegs:            unsafe.Sizeof(Regs{}),
		GetSregs:           unsafe.Sizeof(Sregs{}),
		setSregs:           unsafe.Sizeof(Sregs{}),
		getMSRs:            unsafe.Offsetof(msrTable{}.index),
		setMSRs:            unsafe.Offsetof(msrTable{}.index),
		setCPUID2:          unsafe.Offsetof(cpuidTable{}.entries),
	})
	// The sizes of entries (<linux/kvm.h>, <asm/kvm.h>).
	for name, sizes := range map[string][2]uintptr{
		"kvm_cpuid_entry2": {unsafe.Sizeof(CPUID{}), 40},
		"kvm_msr_entry":    {unsafe.Sizeof(msrTable{}) - unsafe.Offsetof(msrTable{}.index), 16},
		"kvm_segment":      {unsafe.Sizeof(Segment{}), 24},
		"kvm_dtable":       {unsafe.Sizeof(Table{}), 16},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("struct %s has %d bytes, want %d", name, sizes[0], sizes[1])
		}
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

// checkPortAccess reads an access to a port from memory that may hold anything.
func checkPortAccess(t *testing.T, c *VCPU) {
	if io, err := c.IO(); err == nil && (io.Size == 0 || len(io.Data)%io.Size != 0) {
		t.Errorf("%+v", io)
	}
}
