package image

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/boot"
)

// tinyImage returns a valid image without code.
func tinyImage(t testing.TB, manifest string) []byte {
	notes, _ := appendNote(nil, noteName, noteManifest, []byte(manifest))
	notes, digestOff := appendNote(notes, noteName, noteDigest, make([]byte, sha256.Size))
	hdr := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Phoff: 64, Phentsize: progSize, Phnum: 2,
	}
	const at = 64 + 2*progSize
	size := uint64(len(notes))
	progs := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Off: at, Filesz: size, Memsz: size},
		{Type: uint32(elf.PT_NOTE), Off: at, Filesz: size, Memsz: size},
	}
	out, err := binary.Append(nil, binary.LittleEndian, hdr)
	if err == nil {
		out, err = binary.Append(out, binary.LittleEndian, progs)
	}
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, notes...)
	sum := sha256.Sum256(out)
	copy(out[at+digestOff:], sum[:])
	return out
}

func readBytes(b []byte) (*Manifest, error) {
	r := bytes.NewReader(b)
	l, err := locate(r, int64(len(b)))
	if err != nil {
		return nil, err
	}
	return l.verify(r, int64(len(b)))
}

// own is the beginning of a manifest of this version.
var own = fmt.Sprintf(`{"format":%d,"boot":%d,"pith":"v1.2.3"`, FormatVersion, boot.Version)

func TestManifestIsReadOnlyWhenItsFormatIsKnown(t *testing.T) {
	for _, test := range []struct {
		manifest string
		ok       bool
	}{
		{own + `}`, true},
		{`{}`, false},
		{own + `,"root":{"size":-1}}`, false},
		{own + `,"root":{"size":5}}`, false}, // no room before the notes
		{own, false},
		{own + `,"root":5}`, false},
	} {
		if _, err := readBytes(tinyImage(t, test.manifest)); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.manifest, err)
		}
	}
}

// For an image of another version, the error says in one line which pith runs it. This must work
// with any other contents of the manifest.
func TestAnImageOfAnotherVersionIsRefusedInOneLine(t *testing.T) {
	for _, test := range []struct{ manifest, has, runs string }{
		{fmt.Sprintf(`{"format":%d,"boot":%d,"pith":"v9.0.0","root":"elsewhere"}`, FormatVersion+1, boot.Version),
			fmt.Sprintf("pith v9.0.0 with version %d of the format", FormatVersion+1), fmt.Sprintf("runs version %d", FormatVersion)},
		{fmt.Sprintf(`{"format":%d,"boot":%d}`, oldestFormat-1, boot.Version),
			fmt.Sprintf("an unknown pith with version %d of the format", oldestFormat-1), fmt.Sprintf("runs version %d", FormatVersion)},
		{fmt.Sprintf(`{"format":%d,"boot":%d,"pith":"v9.0.0"}`, FormatVersion, boot.Version+1),
			fmt.Sprintf("pith v9.0.0 with version %d of the boot contract", boot.Version+1), fmt.Sprintf("runs version %d", boot.Version)},
	} {
		_, err := readBytes(tinyImage(t, test.manifest))
		if err == nil {
			t.Errorf("%s: no error", test.manifest)
			continue
		}
		for _, part := range []string{test.has, test.runs, "build it again with this pith"} {
			if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q does not have %q in one line", test.manifest, err, part)
			}
		}
	}
}

// FuzzRead reads any bytes as an image. Wrong lengths and offsets must not cause a panic or an
// allocation larger than the file.
func FuzzRead(f *testing.F) {
	f.Add([]byte(elf.ELFMAG))
	f.Add(tinyImage(f, own+`}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := readBytes(b); err == nil && (m.Format < oldestFormat || m.Format > FormatVersion) {
			t.Errorf("read a manifest of format %d", m.Format)
		}
	})
}
