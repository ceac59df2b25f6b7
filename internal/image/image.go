// Package image makes, reads and checks images: the ELF files that a monitor
// starts. Build runs the user's Go with the derived distribution of package
// toolchain and then post-processes what the linker wrote; Open gives a monitor
// everything it needs to start an image, after having checked its digest.
//
// An image is an ordinary static ELF executable (System V ABI, AMD64) with one
// more read-only segment, the last in the file:
//
//	root files   cpio archive, "newc" format, page-aligned
//	notes        PT_NOTE: the manifest, and the digest of the whole file
//
// Nothing that a file says of itself is trusted before its bounds are checked.
package image

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pith-os/pith/internal/version"
)

// FormatVersion is the version of the image format that this package writes
// and the only one that it reads.
const FormatVersion = 1

// Errors of Open.
var (
	ErrNotImage  = errors.New("not a Pith image")
	ErrTruncated = errors.New("the image is truncated")
	ErrAltered   = errors.New("the image was altered after it was built")
)

// Manifest says what an image is made of. It is stored as JSON in a note.
type Manifest struct {
	Format  int       `json:"format"`
	Pith    string    `json:"pith"` // version of the pith that built it
	Go      string    `json:"go"`
	Package string    `json:"package"`
	Modules []Module  `json:"modules,omitempty"` // the main module first
	Parts   []string  `json:"parts"`             // of the library OS: core, net, ...
	Args    []string  `json:"args,omitempty"`    // when none are given at run time
	Env     []string  `json:"env,omitempty"`     // K=V, overridden at run time
	Root    Root      `json:"root"`
	Traps   []Syscall `json:"syscalls,omitempty"`
}

// Module is a module that the program was built from.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version,omitempty"`
	Replace string `json:"replace,omitempty"` // what stood in for it: path, or path@version
	Sum     string `json:"sum,omitempty"`
}

// Root describes the archive of root files.
type Root struct {
	Files  int    `json:"files"`
	Size   int64  `json:"size"`   // of the archive, in bytes
	Digest string `json:"digest"` // of the archive: "sha256:" and hexadecimal digits
}

// Syscall is a function outside the library OS's gate that has system call
// instructions of its own. The library OS does not see what they do; the monitor
// ends the instance at a call that it forbids.
type Syscall struct {
	Function string `json:"function"`
	Count    int    `json:"count"`
}

// Image is an open image whose digest was checked.
type Image struct {
	Manifest Manifest
	Digest   string // of the file: "sha256:" and hexadecimal digits
	file     *os.File
}

// Open opens the image at path and checks it. The errors of an unfit file wrap
// ErrNotImage, ErrTruncated or ErrAltered.
func Open(path string) (*Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	img, err := read(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return img, nil
}

// File is the open file, for the monitor to execute: what was checked is then
// what runs, even when the path has been given to another file.
func (img *Image) File() *os.File { return img.file }

// Close closes the file.
func (img *Image) Close() error { return img.file.Close() }

func read(f *os.File) (*Image, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, ErrNotImage
	}
	l, err := locate(f, fi.Size())
	if err != nil {
		return nil, err
	}
	m, err := l.verify(f, fi.Size())
	if err != nil {
		return nil, err
	}
	return &Image{*m, digestString(l.digest[:]), f}, nil
}

// located is where the parts of an image stand in its file.
type located struct {
	digest       [sha256.Size]byte
	digestOffset int64
	manifest     []byte
	rootMax      int64 // room for the archive: from the segment's start to the notes
}

// locate finds the notes of an image of size bytes.
func locate(r io.ReaderAt, size int64) (*located, error) {
	magic := make([]byte, 4)
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != elf.ELFMAG {
		return nil, ErrNotImage
	}
	var hdr elf.Header64
	if err := readStruct(r, 0, &hdr); err != nil {
		return nil, ErrTruncated
	}
	if elf.Class(hdr.Ident[elf.EI_CLASS]) != elf.ELFCLASS64 || elf.Data(hdr.Ident[elf.EI_DATA]) != elf.ELFDATA2LSB ||
		elf.Machine(hdr.Machine) != elf.EM_X86_64 || hdr.Phentsize != progSize || hdr.Phnum > maxProgs {
		return nil, ErrNotImage
	}
	progs := make([]elf.Prog64, hdr.Phnum)
	if hdr.Phoff > uint64(size) {
		return nil, ErrTruncated
	}
	if err := readStruct(r, int64(hdr.Phoff), progs); err != nil {
		return nil, ErrTruncated
	}
	for _, p := range progs {
		if p.Off > uint64(size) || p.Filesz > uint64(size)-p.Off {
			return nil, ErrTruncated
		}
	}
	for _, p := range progs {
		if elf.ProgType(p.Type) != elf.PT_NOTE || p.Filesz > maxNotes {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := r.ReadAt(b, int64(p.Off)); err != nil {
			return nil, ErrTruncated
		}
		l := located{digestOffset: -1}
		for n := range notes(b) {
			switch {
			case n.name != noteName:
			case n.kind == noteManifest:
				l.manifest = n.desc
			case n.kind == noteDigest && len(n.desc) == sha256.Size:
				l.digestOffset = int64(p.Off) + int64(n.offset)
				copy(l.digest[:], n.desc)
			}
		}
		if l.manifest == nil || l.digestOffset < 0 {
			continue
		}
		for _, s := range progs {
			if elf.ProgType(s.Type) == elf.PT_LOAD && s.Off <= p.Off && p.Off-s.Off <= s.Filesz {
				l.rootMax = int64(p.Off - s.Off)
				return &l, nil
			}
		}
	}
	return nil, ErrNotImage
}

// verify checks the digest, and only then reads the manifest.
func (l *located) verify(r io.ReaderAt, size int64) (*Manifest, error) {
	h := sha256.New()
	after := l.digestOffset + sha256.Size
	for _, part := range []io.Reader{
		io.NewSectionReader(r, 0, l.digestOffset),
		bytes.NewReader(make([]byte, sha256.Size)),
		io.NewSectionReader(r, after, size-after),
	} {
		if _, err := io.Copy(h, part); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(h.Sum(nil), l.digest[:]) {
		return nil, ErrAltered
	}
	var m Manifest
	if err := json.Unmarshal(l.manifest, &m); err != nil {
		return nil, fmt.Errorf("%w: its manifest is not JSON: %v", ErrNotImage, err)
	}
	if m.Format != FormatVersion {
		return nil, fmt.Errorf("the image has format %d and this pith (%s) reads format %d: build it again", m.Format, version.Get(), FormatVersion)
	}
	if m.Root.Size < 0 || m.Root.Size > l.rootMax {
		return nil, fmt.Errorf("%w: its root files do not fit their segment", ErrNotImage)
	}
	return &m, nil
}

func digestString(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// Indented is the manifest as JSON for people to read.
func (m *Manifest) Indented() (string, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return string(b) + "\n", err
}
