package image

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
)

// tree is the image's root: an entry for each path. Paths are absolute and clean, without the
// first slash.
type tree map[string]entry

// entry is a file, a folder or a symbolic link of the root. The same files must give the same
// image on every host. So an entry has no owner and no times, and the only permission that it
// keeps is execution.
type entry struct {
	mode fs.FileMode // type, and 0644 or 0755
	data []byte      // contents, or a symbolic link's target
}

// add puts e at name and makes the folders above it. It replaces a folder only by a folder,
// and a file only by a file.
func (t tree) add(name string, e entry) error {
	if old, ok := t[name]; ok && old.mode.IsDir() != e.mode.IsDir() {
		return fmt.Errorf("/%s would be both a folder and a file of the image", name)
	}
	t[name] = e
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		old, ok := t[dir]
		if ok && !old.mode.IsDir() {
			return fmt.Errorf("/%s would be both a folder and a file of the image", dir)
		}
		t[dir] = entry{mode: fs.ModeDir | 0o755}
	}
	return nil
}

// The "newc" format of cpio(5). Each file has a header of hexadecimal numbers in ASCII, its
// name with a NUL, and its data. Name and data are padded to 4 bytes. A file with a fixed name
// ends the archive.
const (
	cpioMagic   = "070701"
	cpioTrailer = "TRAILER!!!"
)

// archive returns the tree as an archive, in the order of its paths: a folder precedes its
// files.
func (t tree) archive() ([]byte, error) {
	var out []byte
	for i, name := range slices.Sorted(maps.Keys(t)) {
		e := t[name]
		if len(e.data) > math.MaxUint32 {
			return nil, fmt.Errorf("/%s: larger than 4 GiB", name)
		}
		if strings.ContainsRune(name, 0) {
			return nil, errors.New("a file name contains a NUL")
		}
		out = appendCPIO(out, i+1, name, e)
	}
	return appendCPIO(out, 0, cpioTrailer, entry{}), nil
}

func appendCPIO(out []byte, ino int, name string, e entry) []byte {
	const uid, gid, mtime, devMajor, devMinor, rdevMajor, rdevMinor, check = 0, 0, 0, 0, 0, 0, 0, 0
	nlink := 1
	if e.mode.IsDir() {
		nlink = 2
	}
	out = append(out, cpioMagic...)
	for _, v := range []int{
		ino, unixMode(e.mode), uid, gid, nlink, mtime, len(e.data),
		devMajor, devMinor, rdevMajor, rdevMinor, len(name) + 1, check,
	} {
		out = fmt.Appendf(out, "%08x", v)
	}
	out = pad(append(out, name+"\x00"...), 4)
	return pad(append(out, e.data...), 4)
}

// unixMode returns st_mode (inode(7)).
func unixMode(m fs.FileMode) int {
	perm := int(m.Perm())
	switch m.Type() {
	case fs.ModeDir:
		return perm | 0o040000
	case fs.ModeSymlink:
		return perm | 0o120000
	}
	if perm == 0 { // the trailer
		return 0
	}
	return perm | 0o100000
}
