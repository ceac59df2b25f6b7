// Package image makes, reads and checks images, the ELF files that a monitor starts. Build
// runs the go command of a distribution that package toolchain derived, and turns the linked
// program into an image. Open checks an image's digest and version, and returns the open image
// for a monitor.
//
// An image is an ordinary static ELF executable (System V ABI) with one more read-only
// segment. It is the last one in the file and has:
//
//	root files   cpio archive, "newc" format, page-aligned
//	notes        PT_NOTE: the manifest, and the digest of the whole file
//
// The package checks the bounds of everything that it reads from a file.
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
)

// Errors of Open.
var (
	ErrNotImage  = errors.New("not a Pith image")
	ErrTruncated = errors.New("the image is truncated")
	ErrAltered   = errors.New("the image was altered after it was built")
)

// Manifest describes the contents of an image. A note holds it as JSON.
type Manifest struct {
	versions
	Go      string    `json:"go"`
	Package string    `json:"package"`
	Modules []Module  `json:"modules,omitempty"` // the main module first
	Parts   []string  `json:"parts"`             // parts of the library OS: core, net, ...
	Args    []string  `json:"args,omitempty"`    // used if the user gives none at run time
	Env     []string  `json:"env,omitempty"`     // K=V, overridden at run time
	Root    Root      `json:"root"`
	Traps   []Syscall `json:"syscalls,omitempty"`
}

// Module is a module that the program was built from.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version,omitempty"`
	Replace string `json:"replace,omitempty"` // its replacement: path, or path@version
	Sum     string `json:"sum,omitempty"`
}

// Root describes the archive of root files.
type Root struct {
	Files  int    `json:"files"`
	Size   int64  `json:"size"`   // of the archive, in bytes
	Digest string `json:"digest"` // of the archive: "sha256:" and hexadecimal digits
}

// Syscall is a function outside of the gate that has system call instructions. The library OS
// does not see such calls. The monitor ends the instance if it forbids such a call.
type Syscall struct {
	Function string `json:"function"`
	Count    int    `json:"count"`
}

// Image is an open image. Its digest and version are checked.
type Image struct {
	Manifest Manifest
	Digest   string // of the file: "sha256:" and hexadecimal digits
	file     *os.File
}

// Open opens the image at path and checks it. If the file is not a complete image, the error
// wraps ErrNotImage, ErrTruncated or ErrAltered.
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

// File returns the open file. A monitor executes this file and not the path. So it runs the
// checked image, even if path now names another file.
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

// located has the offsets and sizes of an image's parts in its file.
type located struct {
	digest       [sha256.Size]byte
	digestOffset int64
	manifest     []byte
	rootMax      int64 // maximum size of the archive: from the segment's start to the notes
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
		elf.Machine(hdr.Machine) != elfMachine || hdr.Phentsize != progSize || hdr.Phnum > maxProgs {
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

// verify checks the digest, and then reads the manifest.
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
	// The manifest of another version may have other fields, so check its versions
	// first.
	var v versions
	if err := json.Unmarshal(l.manifest, &v); err != nil {
		return nil, fmt.Errorf("%w: its manifest is not JSON: %v", ErrNotImage, err)
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(l.manifest, &m); err != nil {
		return nil, fmt.Errorf("%w: its manifest is damaged: %v", ErrNotImage, err)
	}
	if m.Root.Size < 0 || m.Root.Size > l.rootMax {
		return nil, fmt.Errorf("%w: its root files do not fit their segment", ErrNotImage)
	}
	return &m, nil
}

func digestString(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

// Indented returns the manifest as JSON for people to read.
func (m *Manifest) Indented() (string, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return string(b) + "\n", err
}
