package boot

import (
	"encoding/binary"
	"testing"
)

func TestVnetHeaderIsLittleEndianInTheOrderOfItsFields(t *testing.T) {
	h := VnetHeader{1, 2, 0x0403, 0x0605, 0x0807, 0x0a09, 0x0c0b}
	b := make([]byte, VirtioNetHeaderSize)
	h.Put(b)
	want, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil || string(b) != string(want) {
		t.Errorf("%x, want %x, %v", b, want, err)
	}
	if got := ParseVnetHeader(b); got != h {
		t.Errorf("read back %+v, want %+v", got, h)
	}
}
