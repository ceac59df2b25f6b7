// Package proc is /proc, as far as Go programs and libraries read it: the one
// process, memory, CPUs, mounts, the network's tables and the kernel's
// parameters. It stands on packages vfs and mm; package sys imports it and says
// where the descriptors are; package inet registers the tables of the network.
//
// Most files are texts with variables (texts.go, vars.go), made when they are
// opened. What a unikernel does not have, such as other processes, swap or load
// averages, shows as none.
package proc

import (
	"strings"
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// Files are the descriptors that /proc/self/fd shows. Package sys sets it.
var Files *file.Table

func init() {
	vfs.AddMount("proc", "/proc", "rw,nosuid,nodev,noexec,relatime", makeRoot)
}

// contents are the files that other packages registered.
var (
	contentsMu sync.Mutex
	contents   = map[string]func() []byte{}
)

// Register has content called at each open of /proc/path, which must be one of
// the files of this package, such as "net/tcp". It replaces the default.
func Register(path string, content func() []byte) {
	contentsMu.Lock()
	defer contentsMu.Unlock()
	contents[path] = content
}

func registered(path string) func() []byte {
	contentsMu.Lock()
	defer contentsMu.Unlock()
	return contents[path]
}

// builder makes the tree.
type builder struct {
	fs      *vfs.FileSystem
	folders map[string]*vfs.Folder
}

func makeRoot() vfs.Inode {
	fs := vfs.NewFileSystem("proc", linux.PROC_SUPER_MAGIC)
	b := &builder{fs, map[string]*vfs.Folder{}}
	b.texts("", systemTexts)
	for _, dir := range []string{"1/", "1/task/1/"} {
		b.texts(dir, processTexts)
		b.process(dir)
	}
	b.texts("1/net/", netTexts)
	b.link("self", "1")
	b.link("thread-self", "1/task/1")
	b.link("mounts", "self/mounts")
	b.link("net", "self/net")
	return b.folder("")
}

// folder is the directory at path, which is made if need be.
func (b *builder) folder(path string) *vfs.Folder {
	f := b.folders[path]
	if f == nil {
		f = vfs.NewFolder(b.fs, 0o555)
		b.folders[path] = f
		if path != "" {
			b.add(path, f)
		}
	}
	return f
}

func (b *builder) add(path string, inode vfs.Inode) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	b.folder(dir).Add(name, inode)
}

// texts adds the files of a table of texts.go.
func (b *builder) texts(dir, table string) {
	for _, entry := range strings.Split(table, "== ")[1:] {
		path, text, _ := strings.Cut(entry, "\n")
		b.text(dir, path, text)
	}
}

func (b *builder) text(dir, path, text string) {
	perm := uint32(0o444)
	path, writable := strings.CutSuffix(path, "*")
	key := path
	if dir == "1/net/" {
		key = "net/" + path
	}
	var store func([]byte) linux.Errno
	if writable {
		perm = 0o644
		store = func(p []byte) linux.Errno {
			value := strings.TrimSpace(string(p)) + "\n"
			Register(key, func() []byte { return []byte(value) })
			return 0
		}
	}
	b.add(dir+path, vfs.NewGenerated(b.fs, perm, func() []byte {
		if content := registered(key); content != nil {
			return content()
		}
		return expand(text)
	}, store))
}

func (b *builder) link(path, target string) {
	b.add(path, vfs.NewLink(b.fs, func() string { return target }))
}

// process adds to the process's directory what is no text.
func (b *builder) process(dir string) {
	b.add(dir+"fd", newDescriptors(b.fs, 0o500, newLink))
	b.add(dir+"fdinfo", newDescriptors(b.fs, 0o555, newInfo))
	b.add(dir+"cwd", newPlace(b.fs, vfs.Cwd))
	b.add(dir+"root", newPlace(b.fs, vfs.Root))
	b.add(dir+"exe", vfs.NewLink(b.fs, executable))
}
