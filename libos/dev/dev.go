// Package dev is /dev: the character devices that programs expect, the links
// to the standard descriptors, and /dev/shm. It stands on packages vfs and
// console; package sys imports it for its effect.
package dev

import (
	"github.com/pith-os/pith/libos/console"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/memfs"
)

func init() {
	vfs.AddMount("dev", "/dev", "rw,nosuid,noexec", makeDev)
	vfs.AddMount("shm", "/dev/shm", "rw,nosuid,nodev,noexec", makeShm)
}

// devices have the numbers of Documentation/admin-guide/devices.txt of Linux.
var devices = []struct {
	name         string
	major, minor uint32
	perm         uint32
	open         func(d *vfs.Dentry, flags uint32) (file.File, linux.Errno)
}{
	{"null", 1, 3, 0o666, func(d *vfs.Dentry, _ uint32) (file.File, linux.Errno) { return &null{device{dentry: d}}, 0 }},
	{"zero", 1, 5, 0o666, func(d *vfs.Dentry, _ uint32) (file.File, linux.Errno) { return &zero{device{dentry: d}}, 0 }},
	{"full", 1, 7, 0o666, func(d *vfs.Dentry, _ uint32) (file.File, linux.Errno) { return &full{zero{device{dentry: d}}}, 0 }},
	{"random", 1, 8, 0o666, openRandom},
	{"urandom", 1, 9, 0o666, openRandom},
	{"tty", 5, 0, 0o666, func(_ *vfs.Dentry, flags uint32) (file.File, linux.Errno) { return console.OpenTerminal(flags) }},
	{"console", 5, 1, 0o620, func(_ *vfs.Dentry, flags uint32) (file.File, linux.Errno) { return console.Open(flags), 0 }},
}

func openRandom(d *vfs.Dentry, _ uint32) (file.File, linux.Errno) {
	return &random{device{dentry: d}}, 0
}

var links = []struct{ name, target string }{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
}

func makeDev() vfs.Inode {
	fs := vfs.NewFileSystem("devtmpfs", linux.TMPFS_MAGIC)
	dir := vfs.NewFolder(fs, 0o755)
	for _, v := range devices {
		dir.Add(v.name, vfs.NewDevice(fs, v.perm, linux.Makedev(v.major, v.minor), func(d *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
			f, errno := v.open(d, flags)
			if errno != 0 {
				return nil, errno
			}
			f.(interface{ Init(flags uint32) }).Init(flags)
			return f, 0
		}))
	}
	for _, l := range links {
		dir.Add(l.name, vfs.NewLink(fs, func() string { return l.target }))
	}
	dir.Add("shm", vfs.NewFolder(fs, 0o755))
	return dir
}

// makeShm is for shm_open(3) and the like: half of the memory, as Linux's.
func makeShm() vfs.Inode {
	root := memfs.New(int64(platform.Config().Memory / 2)).Root()
	root.SetAttr(&vfs.Attr{Valid: vfs.AttrMode, Mode: 0o777 | linux.S_ISVTX})
	return root
}
