// Package dev is /dev: the character devices that programs expect, the disks of
// a virtual machine, the links to the standard descriptors, and /dev/shm. It
// stands on packages vfs and console. Package sys imports it for its side
// effects; package machine adds the disks.
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

// Device is a name in /dev and its device.
type Device struct {
	Name string
	Mode uint32 // S_IFCHR or S_IFBLK, and permissions
	Rdev uint64 // linux.Makedev
	// Open makes the file for each open(2) of d.
	Open func(d *vfs.Dentry, flags uint32) (File, linux.Errno)
}

// File is the file of an open device. Init sets its access mode.
type File interface {
	file.File
	Init(flags uint32)
}

// Add adds a device. It must be called before the tree of files is first used.
func Add(v Device) { devices = append(devices, v) }

// devices have the numbers of Linux's Documentation/admin-guide/devices.txt.
var devices = []Device{
	{"null", linux.S_IFCHR | 0o666, linux.Makedev(1, 3), func(d *vfs.Dentry, _ uint32) (File, linux.Errno) { return &null{device{dentry: d}}, 0 }},
	{"zero", linux.S_IFCHR | 0o666, linux.Makedev(1, 5), func(d *vfs.Dentry, _ uint32) (File, linux.Errno) { return &zero{device{dentry: d}}, 0 }},
	{"full", linux.S_IFCHR | 0o666, linux.Makedev(1, 7), func(d *vfs.Dentry, _ uint32) (File, linux.Errno) { return &full{zero{device{dentry: d}}}, 0 }},
	{"random", linux.S_IFCHR | 0o666, linux.Makedev(1, 8), openRandom},
	{"urandom", linux.S_IFCHR | 0o666, linux.Makedev(1, 9), openRandom},
	{"tty", linux.S_IFCHR | 0o666, linux.Makedev(5, 0), openTerminal},
	{"console", linux.S_IFCHR | 0o620, linux.Makedev(5, 1), func(_ *vfs.Dentry, flags uint32) (File, linux.Errno) { return console.Open(flags), 0 }},
}

func openRandom(d *vfs.Dentry, _ uint32) (File, linux.Errno) {
	return &random{device{dentry: d}}, 0
}

func openTerminal(_ *vfs.Dentry, flags uint32) (File, linux.Errno) {
	f, errno := console.OpenTerminal(flags)
	if errno != 0 {
		return nil, errno
	}
	return f, 0
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
		dir.Add(v.Name, vfs.NewDevice(fs, v.Mode, v.Rdev, func(d *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
			f, errno := v.Open(d, flags)
			if errno != 0 {
				return nil, errno
			}
			f.Init(flags)
			return f, 0
		}))
	}
	for _, l := range links {
		dir.Add(l.name, vfs.NewLink(fs, func() string { return l.target }))
	}
	dir.Add("shm", vfs.NewFolder(fs, 0o755))
	return dir
}

// makeShm makes the file system for shm_open(3). Its files may use half of the
// memory, as in Linux.
func makeShm() vfs.Inode {
	root := memfs.New(int64(platform.Config().Memory / 2)).Root()
	root.SetAttr(&vfs.Attr{Valid: vfs.AttrMode, Mode: 0o777 | linux.S_ISVTX})
	return root
}
