// Package cpio reads archives in the "newc" format (cpio(5)), which contain the
// root files of an image. Data are not copied: they are slices of the archive.
package cpio

import (
	"bytes"
	"errors"
	"strconv"
)

// Entry is a file in an archive.
type Entry struct {
	Name  string // as stored, such as "etc/passwd"
	Ino   uint32 // hard links share it
	Mode  uint32 // type and permissions
	UID   uint32
	GID   uint32
	Nlink uint32
	Mtime uint32 // seconds since the Unix epoch
	Rdev  [2]uint32
	Data  []byte // for a symbolic link: the target
}

const (
	magic      = "070701"
	fields     = 13
	headerSize = len(magic) + 8*fields
	trailer    = "TRAILER!!!"
	// maxName bounds names in bytes, as Linux's PATH_MAX does.
	maxName = 4096
)

// Read calls fn for each entry of archive in order, until fn returns an error.
func Read(archive []byte, fn func(*Entry) error) error {
	r := reader{archive, 0}
	for {
		e, err := r.next()
		if err != nil {
			return errors.New("cpio archive at byte " + strconv.Itoa(r.off) + ": " + err.Error())
		}
		if e.Name == trailer {
			return nil
		}
		if err := fn(e); err != nil {
			return errors.New("cpio archive, " + e.Name + ": " + err.Error())
		}
	}
}

type reader struct {
	archive []byte
	off     int
}

var errTruncated = errors.New("truncated")

// take returns the next n bytes and skips the padding to the next multiple of
// 4.
func (r *reader) take(n int) ([]byte, error) {
	if n > len(r.archive)-r.off {
		return nil, errTruncated
	}
	p := r.archive[r.off : r.off+n : r.off+n]
	r.off = min((r.off+n+3)&^3, len(r.archive))
	return p, nil
}

func (r *reader) next() (*Entry, error) {
	if len(r.archive)-r.off < headerSize {
		return nil, errTruncated
	}
	h := r.archive[r.off : r.off+headerSize]
	if string(h[:len(magic)]) != magic {
		return nil, errors.New("the magic number is not that of the newc format")
	}
	var v [fields]uint32
	for i := range v {
		var err error
		if v[i], err = hex(h[len(magic)+8*i:][:8]); err != nil {
			return nil, err
		}
	}
	size, nameSize := int(v[6]), int(v[11])
	if nameSize < 2 || nameSize > maxName {
		return nil, errors.New("name has " + strconv.Itoa(nameSize) + " bytes")
	}
	// The name follows its header without padding.
	head, err := r.take(headerSize + nameSize)
	if err != nil {
		return nil, err
	}
	name := head[headerSize:]
	if bytes.IndexByte(name, 0) != len(name)-1 {
		return nil, errors.New("name does not end in exactly one zero byte")
	}
	data, err := r.take(size)
	if err != nil {
		return nil, err
	}
	return &Entry{
		Ino: v[0], Mode: v[1], UID: v[2], GID: v[3], Nlink: v[4], Mtime: v[5],
		Rdev: [2]uint32{v[9], v[10]}, Name: string(name[:len(name)-1]), Data: data,
	}, nil
}

func hex(p []byte) (v uint32, err error) {
	for _, c := range p {
		var d byte
		switch {
		case '0' <= c && c <= '9':
			d = c - '0'
		case 'a' <= c && c <= 'f':
			d = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			d = c - 'A' + 10
		default:
			return 0, errors.New("header field is not a hexadecimal number")
		}
		v = v<<4 | uint32(d)
	}
	return v, nil
}
