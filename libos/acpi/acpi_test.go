package acpi

import (
	"encoding/binary"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// firmware is memory with tables, by address.
type firmware map[uint64][]byte

func (f firmware) Map(phys uint64, n int) ([]byte, linux.Errno) {
	if t, ok := f[phys]; ok && n <= len(t) {
		return t[:n:n], 0
	}
	return nil, linux.EFAULT
}

var le = binary.LittleEndian

// sum has the bytes up to n sum up to 0, by the one at off.
func sum(b []byte, n, off int) {
	b[off] = 0
	var total byte
	for _, v := range b[:n] {
		total += v
	}
	b[off] = -total
}

// add puts a table at phys.
func (f firmware) add(phys uint64, signature string, size int, fill func(t []byte)) {
	t := make([]byte, size)
	copy(t, signature)
	le.PutUint32(t[4:], uint32(size))
	fill(t)
	sum(t, size, 9)
	f[phys] = t
}

const rsdp, fadtAt, madtAt, dsdtAt = 0xe0000, 0x7fe0000, 0x7fe1000, 0x7fe2000

// root puts the root pointer and the root tables.
func (f firmware) root(revision byte) {
	p := make([]byte, 36)
	copy(p, "RSD PTR ")
	p[15] = revision
	le.PutUint32(p[16:], 0x7fe3000)
	sum(p, 20, 8)
	if revision >= 2 {
		le.PutUint64(p[24:], 0x1_0000_0000)
		sum(p, 36, 32)
	}
	f[rsdp] = p
	f.add(0x7fe3000, "RSDT", 36+12, func(t []byte) {
		for i, at := range []uint32{0xdead000, madtAt, fadtAt} {
			le.PutUint32(t[36+4*i:], at)
		}
	})
	f.add(0x1_0000_0000, "XSDT", 36+16, func(t []byte) {
		for i, at := range []uint64{fadtAt, madtAt} {
			le.PutUint64(t[36+8*i:], at)
		}
	})
}

// q35 are the tables of QEMU's q35, as far as they matter.
func q35(revision byte) firmware {
	f := firmware{}
	f.root(revision)
	f.add(fadtAt, "FACP", 244, func(t []byte) {
		le.PutUint32(t[fadtDSDT:], dsdtAt)
		le.PutUint16(t[fadtSCI:], 9)
		le.PutUint32(t[fadtPM1Event:], 0x600)
		le.PutUint32(t[fadtPM1Control:], 0x604)
		t[fadtPM1EventLen] = 4
		t[fadtXPM1Event] = 1 // ports
		le.PutUint64(t[fadtXPM1Event+4:], 0x600)
	})
	f.add(madtAt, "APIC", 44+8+10, func(t []byte) {
		copy(t[44:], []byte{0, 8, 0, 0, 1, 0, 0, 0})
		copy(t[52:], []byte{2, 10, 0, 9, 21, 0, 0, 0, 0x0d, 0})
	})
	f.add(dsdtAt, "DSDT", 64, func(t []byte) {
		copy(t[40:], "\x08_S5_\x12\x06\x04\x0a\x05\x00\x00\x00")
	})
	return f
}

// microvm are the tables of QEMU's microvm.
func microvm() firmware {
	f := firmware{}
	f.root(2)
	f.add(fadtAt, "FACP", 268, func(t []byte) {
		le.PutUint32(t[fadtFlags:], flagReduced)
		le.PutUint64(t[fadtSleepControl+4:], microvmSleep)
	})
	f.add(madtAt, "APIC", 44, func([]byte) {})
	return f
}

func TestTheFixedButton(t *testing.T) {
	for _, revision := range []byte{0, 2} {
		m := read(q35(revision).Map, rsdp)
		if m.button == nil || m.button.at != (place{true, 0x600}) || m.button.size != 4 || m.button.pin != 21 {
			t.Fatalf("revision %d: the button is %+v", revision, m.button)
		}
		if m.off == nil || *m.off != (off{place{true, 0x604}, 5<<10 | 1<<13}) {
			t.Errorf("revision %d: off is %+v", revision, m.off)
		}
		regs := registers{}
		m.button.arm(regs)
		if regs[2] != pm1Button || m.button.pressed(regs) {
			t.Errorf("armed: %v", regs)
		}
		regs[0] = pm1Button
		if !m.button.pressed(regs) || regs[0] != 0 {
			t.Errorf("pressed: %v", regs)
		}
	}
}

// registers are those of PM1: the status is cleared by ones.
type registers map[int]uint32

func (r registers) Read(off, width int) uint32 { return r[off] }

func (r registers) Write(off, width int, v uint32) {
	if off == 0 {
		r[off] &^= v
	} else {
		r[off] = v
	}
}

func TestTheButtonOfMicrovm(t *testing.T) {
	m := read(microvm().Map, rsdp)
	if m.button == nil || m.button.at != (place{addr: microvmEvents}) || m.button.pin != 9 {
		t.Fatalf("the button is %+v", m.button)
	}
	if m.off == nil || *m.off != (off{place{addr: microvmSleep}, 0x34}) {
		t.Errorf("off is %+v", m.off)
	}
	m.button.arm(registers{})
	if m.button.pressed(registers{0: 1}) || !m.button.pressed(registers{0: 3}) {
		t.Error("another event is the button, or the button none")
	}
}

func TestEveryPressIsTold(t *testing.T) {
	m := read(microvm().Map, rsdp)
	irq, _ := platform.NewInterrupt()
	told := make(chan bool)
	presses := make(press, 2)
	go m.button.watch(presses, irq, func() { told <- true })
	for range 3 {
		presses <- microvmButton
		irq.Fire()
		<-told
	}
}

// press is a register that is read once.
type press chan uint32

func (p press) Read(off, width int) uint32 {
	select {
	case v := <-p:
		return v
	default:
		return 0
	}
}

func (p press) Write(off, width int, v uint32) {}

func TestDamagedTablesAreAsNone(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(f firmware)
	}{
		{"no root pointer", func(f firmware) { delete(f, rsdp) }},
		{"another root pointer", func(f firmware) { f[rsdp][0] = 'r' }},
		{"a root pointer that does not sum up", func(f firmware) { f[rsdp][10]++ }},
		{"no root table", func(f firmware) { delete(f, 0x1_0000_0000) }},
		{"a root table that does not sum up", func(f firmware) { f[0x1_0000_0000][40]++ }},
		{"a root table that is too long", func(f firmware) { le.PutUint32(f[0x1_0000_0000][4:], 1<<30) }},
		{"a root table that is too short", func(f firmware) { le.PutUint32(f[0x1_0000_0000][4:], 35) }},
		{"a table that does not sum up", func(f firmware) { f[fadtAt][60]++ }},
		{"a table of no length", func(f firmware) { le.PutUint32(f[fadtAt][4:], 0) }},
		{"a table that is short", func(f firmware) { f.add(fadtAt, "FACP", 36, func([]byte) {}) }},
		{"ports that are not for us", func(f firmware) {
			f.add(fadtAt, "FACP", 244, func(t []byte) {
				le.PutUint32(t[fadtPM1Event:], 0x67e)
				le.PutUint32(t[fadtPM1Control:], 0x67f)
				t[fadtPM1EventLen] = 4
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := q35(2)
			c.damage(f)
			if m := read(f.Map, rsdp); m != (machine{}) {
				t.Errorf("found %+v", m)
			}
		})
	}
}

func TestAButtonInByteCodeIsNotKnown(t *testing.T) {
	f := q35(2)
	f.add(fadtAt, "FACP", 244, func(t []byte) {
		copy(t[36:], f[fadtAt][36:])
		le.PutUint32(t[fadtFlags:], flagButtonInByteCode)
	})
	if m := read(f.Map, rsdp); m.button != nil || m.off == nil {
		t.Errorf("found %+v", m)
	}
}

func TestSleepTypes(t *testing.T) {
	for code, want := range map[string]int{
		"_S5_\x12\x06\x04\x00\x00\x00\x00":     0,
		"_S5_\x12\x06\x04\x01\x00\x00\x00":     1,
		"_S5_\x12\x06\x04\x0a\x07\x00\x00":     7,
		"_S5_\x12\x46\x00\x04\x0a\x03\x00":     3,
		"_S5_\x12\x06\x04\x0a\x08\x00\x00":     -1,
		"_S5_\x12\x06\x04\x0b\x03\x00\x00":     -1,
		"_S5_\x12\xc6\x04":                     -1,
		"_S5_":                                 -1,
		"_S4__S5_\x10_S5_\x12\x06\x04\x01\x00": 1,
		"":                                     -1,
	} {
		dsdt := append(make([]byte, headerSize), code...)
		got, ok := sleepType(dsdt)
		if ok != (want >= 0) || ok && int(got) != want {
			t.Errorf("%q: %d, %v", code, got, ok)
		}
	}
}

// FuzzTables has tables be anything: reading them ends, and stays within.
func FuzzTables(f *testing.F) {
	for _, m := range []firmware{q35(0), q35(2), microvm()} {
		f.Add(m[rsdp], m[0x7fe3000], m[0x1_0000_0000], m[fadtAt], m[madtAt], m[dsdtAt])
	}
	f.Fuzz(func(t *testing.T, p, rsdt, xsdt, fadt, madt, dsdt []byte) {
		// Sums are right, or little would be read.
		if len(p) >= 20 {
			sum(p, 20, 8)
		}
		if len(p) >= 36 {
			sum(p, 36, 32)
		}
		m := firmware{rsdp: p, 0x7fe3000: rsdt, 0x1_0000_0000: xsdt, fadtAt: fadt, madtAt: madt, dsdtAt: dsdt}
		for at, table := range m {
			if at != rsdp && len(table) >= headerSize {
				if n := le.Uint32(table[4:]); n >= headerSize && int(n) <= len(table) {
					sum(table, int(n), 9)
				}
			}
		}
		found := read(m.Map, rsdp)
		if b := found.button; b != nil && !reachable(b.at, b.size) {
			t.Errorf("the button is at %+v", b.at)
		}
		if o := found.off; o != nil && !reachable(o.at, 2) {
			t.Errorf("off is at %+v", o.at)
		}
	})
}
