package image

import (
	"encoding/binary"
	"io"
	"iter"
)

// A note (System V ABI, "Note Section") has the sizes of its name and descriptor, a type, the
// name and the descriptor. Name and descriptor are padded to 4 bytes.
const (
	noteName     = "Pith"
	noteManifest = 1 // JSON of Manifest
	noteDigest   = 2 // SHA-256 of the file with this descriptor zeroed
)

// Limits for reading an image before Open has checked its digest.
const (
	maxNotes = 16 << 20
	maxProgs = 64
	progSize = 56 // sizeof(Elf64_Phdr)
)

type note struct {
	name   string
	kind   uint32
	desc   []byte
	offset int // offset of desc in the notes
}

// notes yields the notes in b up to the first invalid one.
func notes(b []byte) iter.Seq[note] {
	return func(yield func(note) bool) {
		for pos := uint64(0); uint64(len(b))-pos >= 12; {
			nameLen := uint64(binary.LittleEndian.Uint32(b[pos:]))
			descLen := uint64(binary.LittleEndian.Uint32(b[pos+4:]))
			kind := binary.LittleEndian.Uint32(b[pos+8:])
			desc := pos + 12 + align(nameLen, 4)
			next := desc + align(descLen, 4)
			if nameLen == 0 || next > uint64(len(b)) {
				return
			}
			n := note{string(b[pos+12 : pos+12+nameLen-1]), kind, b[desc : desc+descLen], int(desc)}
			if !yield(n) {
				return
			}
			pos = next
		}
	}
}

// appendNote appends a note, and returns the offset of its descriptor.
func appendNote(b []byte, name string, kind uint32, desc []byte) (out []byte, offset int) {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)+1))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(desc)))
	b = binary.LittleEndian.AppendUint32(b, kind)
	b = pad(append(b, name+"\x00"...), 4)
	offset = len(b)
	return pad(append(b, desc...), 4), offset
}

// align rounds n up to a multiple of to, a power of two.
func align[T ~int | ~uint64](n, to T) T { return (n + to - 1) &^ (to - 1) }

// pad appends zeros up to a multiple of to.
func pad(b []byte, to int) []byte { return append(b, make([]byte, align(len(b), to)-len(b))...) }

// readStruct reads a fixed-size value, little endian.
func readStruct(r io.ReaderAt, off int64, v any) error {
	return binary.Read(io.NewSectionReader(r, off, int64(binary.Size(v))), binary.LittleEndian, v)
}
