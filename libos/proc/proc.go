// Package proc is /proc, as far as Go programs and libraries read it: the one
// process, memory, CPUs, mounts, network tables and kernel parameters. It
// stands on packages vfs and mm. Package sys imports it and sets Files. Package
// inet registers the network tables.
//
// Most files are texts with variables (texts.go, vars.go), which are expanded
// when the file is opened. What a unikernel lacks, such as other processes,
// swap or load averages, appears as zero or empty.
package proc

import (
	"strings"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// Files is the descriptor table that /proc/self/fd shows. Package sys sets it.
var Files *file.Table

func init() {
	vfs.AddMount("proc", "/proc", "rw,nosuid,nodev,noexec,relatime", makeRoot)
}

// contents has the functions that other packages registered.
var (
	contentsMu sync.Mutex
	contents   = map[string]func() []byte{}
)

// Register makes each open of /proc/path call content instead of using the
// default text. path must be one of the files of this package, such as
// "net/tcp".
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
	if registered("net/"+boot.SocketHosts) != nil { // Linux has no such table
		b.text("1/net/", boot.SocketHosts, "")
	}
	b.link("self", "1")
	b.link("thread-self", "1/task/1")
	b.link("mounts", "self/mounts")
	b.link("net", "self/net")
	return b.folder("")
}

// folder returns the directory at path, and makes it when missing.
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

// texts adds the files of a table in texts.go.
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

// process adds the files of a process directory that are not texts.
func (b *builder) process(dir string) {
	b.add(dir+"fd", newDescriptors(b.fs, 0o500, newLink))
	b.add(dir+"fdinfo", newDescriptors(b.fs, 0o555, newInfo))
	b.add(dir+"cwd", newPlace(b.fs, vfs.Cwd))
	b.add(dir+"root", newPlace(b.fs, vfs.Root))
	b.add(dir+"exe", vfs.NewLink(b.fs, executable))
}
