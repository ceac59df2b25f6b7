package memfs

import (
	"sort"
	"strings"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// checkXattr checks the rules of xattr(7) for names: the class is known, and
// user attributes exist only on files and directories.
func (i *inode) checkXattr(name string) linux.Errno {
	class, rest, _ := strings.Cut(name, ".")
	switch {
	case class != "user" && class != "trusted" && class != "security":
		return linux.EOPNOTSUPP
	case rest == "":
		return linux.EINVAL
	case class == "user" && i.typ != linux.S_IFREG && i.typ != linux.S_IFDIR:
		return linux.EPERM
	}
	return 0
}

// Xattr implements vfs.Xattrs.
func (i *inode) Xattr(name string) ([]byte, linux.Errno) {
	if errno := i.checkXattr(name); errno == linux.EPERM {
		return nil, linux.ENODATA
	} else if errno != 0 {
		return nil, errno
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	v, ok := i.xattrs[name]
	if !ok {
		return nil, linux.ENODATA
	}
	return v, 0
}

// SetXattr implements vfs.Xattrs.
func (i *inode) SetXattr(name string, value []byte, flags int) linux.Errno {
	if errno := i.checkXattr(name); errno != 0 {
		return errno
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	_, exists := i.xattrs[name]
	switch {
	case exists && flags&linux.XATTR_CREATE != 0:
		return linux.EEXIST
	case !exists && flags&linux.XATTR_REPLACE != 0:
		return linux.ENODATA
	}
	if i.xattrs == nil {
		i.xattrs = map[string][]byte{}
	}
	i.xattrs[name] = value
	i.ctime = vfs.Now()
	return 0
}

// ListXattrs implements vfs.Xattrs.
func (i *inode) ListXattrs() []string {
	i.mu.RLock()
	defer i.mu.RUnlock()
	// Not by package maps: in an image its tests would then be an import cycle.
	var names []string
	for name := range i.xattrs {
		names = append(names, name)
	}
	sort.Slice(names, func(a, b int) bool { return names[a] < names[b] })
	return names
}

// RemoveXattr implements vfs.Xattrs.
func (i *inode) RemoveXattr(name string) linux.Errno {
	if errno := i.checkXattr(name); errno != 0 {
		return errno
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if _, ok := i.xattrs[name]; !ok {
		return linux.ENODATA
	}
	delete(i.xattrs, name)
	i.ctime = vfs.Now()
	return 0
}
