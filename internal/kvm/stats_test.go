package kvm

import (
	"encoding/binary"
	"testing"
)

// counters is a file of counters, named by 8 bytes, of a single value each.
func counters(names []string, values []uint64) []byte {
	const header, name, desc = 24, 8, 16 + 8
	le := binary.LittleEndian
	data := uint32(header + len(names)*desc)
	file := make([]byte, 0, 256)
	for _, v := range []uint32{0, name, uint32(len(names)), 0, header, data} {
		file = le.AppendUint32(file, v)
	}
	for i, n := range names {
		file = le.AppendUint32(file, 0)           // flags
		file = le.AppendUint16(file, 0)           // exponent
		file = le.AppendUint16(file, 1)           // values
		file = le.AppendUint32(file, uint32(8*i)) // where
		file = le.AppendUint32(file, 0)
		file = append(file, make([]byte, name)...)
		copy(file[len(file)-name:], n)
	}
	for _, v := range values {
		file = le.AppendUint64(file, v)
	}
	return file
}

func TestCountersThatAreNotZeroAreShown(t *testing.T) {
	got, err := readStats(counters([]string{"exits", "halts", "eightlet"}, []uint64{7, 0, 1 << 40}))
	if want := "exits 7 eightlet 1099511627776"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func FuzzCounters(f *testing.F) {
	whole := counters([]string{"exits", "halts"}, []uint64{7, 8})
	f.Add(whole)
	for _, at := range []int{4, 8, 16, 20, 32} { // sizes, numbers and offsets that lie
		damaged := append([]byte(nil), whole...)
		binary.LittleEndian.PutUint32(damaged[at:], 0xffffffff)
		f.Add(damaged)
		binary.LittleEndian.PutUint32(damaged[8:], 0xffffffff)
		f.Add(damaged)
	}
	f.Add(whole[:len(whole)-1])
	f.Fuzz(func(t *testing.T, contents []byte) {
		if text, err := readStats(contents); err != nil && text != "" {
			t.Errorf("%q, %v", text, err)
		}
	})
}
