// Package rootfs makes the root of the tree: a file system in memory that
// starts with the image's root files. It adds the directories and the files in
// /etc that programs take for granted. Package sys imports it for this side
// effect.
package rootfs

import (
	"strings"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/image"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/memfs"
)

func init() {
	vfs.AddMount("rootfs", "/", "rw,relatime", func() vfs.Inode {
		fs, err := build(archive(), platform.Config(), platform.VM())
		if err != nil {
			panic("root files: " + err.Error())
		}
		return fs.Root()
	})
}

// archive returns the root files, or nil outside an image.
func archive() []byte {
	addr, size := image.Root[0], image.Root[1]
	if addr == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(platform.Pointer(addr)), size)
}

// build makes the root file system; vm is whether the image runs in a virtual
// machine. Files may use half of the memory, as in Linux's tmpfs.
func build(archive []byte, c *boot.Config, vm bool) (*memfs.FS, error) {
	fs := memfs.New(int64(c.Memory / 2))
	if archive != nil {
		if err := fs.Load(archive); err != nil {
			return nil, err
		}
	}
	for _, f := range append(defaults(c), hosts(c), resolvConf(c, vm)) {
		if err := fs.Fill(f.path, f.mode, []byte(f.data)); err != nil {
			return nil, err
		}
	}
	return fs, nil
}

type defaultFile struct {
	path string
	mode uint32
	data string
}

// defaults returns the files that build adds where the root files lack them.
func defaults(c *boot.Config) []defaultFile {
	const dir, file, link = linux.S_IFDIR, linux.S_IFREG, linux.S_IFLNK | 0o777
	return []defaultFile{
		{"/bin", link, "usr/bin"},
		{"/dev", dir | 0o755, ""},
		{"/etc", dir | 0o755, ""},
		{"/etc/group", file | 0o644, "root:x:0:\n"},
		{"/etc/hostname", file | 0o644, c.Hostname + "\n"},
		{"/etc/nsswitch.conf", file | 0o644, "hosts: files dns\n"},
		{"/etc/os-release", file | 0o644, "NAME=Pith\nID=pith\nPRETTY_NAME=Pith\n"},
		{"/etc/passwd", file | 0o644, "root:x:0:0:root:/root:/sbin/nologin\n"},
		{"/home", dir | 0o755, ""},
		{"/mnt", dir | 0o755, ""},
		{"/opt", dir | 0o755, ""},
		{"/proc", dir | 0o555, ""},
		{"/root", dir | 0o700, ""},
		{"/run", dir | 0o755, ""},
		{"/srv", dir | 0o755, ""},
		{"/sys", dir | 0o555, ""},
		{"/tmp", dir | 0o777 | linux.S_ISVTX, ""},
		{"/usr", dir | 0o755, ""},
		{"/usr/bin", dir | 0o755, ""},
		{"/var", dir | 0o755, ""},
		{"/var/cache", dir | 0o755, ""},
		{"/var/lib", dir | 0o755, ""},
		{"/var/log", dir | 0o755, ""},
		{"/var/tmp", dir | 0o777 | linux.S_ISVTX, ""},
	}
}

// hosts returns /etc/hosts (hosts(5)). In a network namespace of the host it is a link to
// the host's.
func hosts(c *boot.Config) defaultFile {
	const path = "/etc/hosts"
	if c.Sockets.Whole() {
		return defaultFile{path, linux.S_IFLNK | 0o777, "/proc/net/" + boot.SocketHosts}
	}
	return defaultFile{path, linux.S_IFREG | 0o644, hostNames(c)}
}

// hostNames returns the names of the instance and of its loopback interface.
func hostNames(c *boot.Config) string {
	s := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if c.Hostname == "" || c.Hostname == "localhost" {
		return s
	}
	if !c.Net.Addressed() {
		return s + "127.0.1.1\t" + c.Hostname + "\n"
	}
	for _, addr := range []string{c.Net.Addr4, c.Net.Addr6} {
		if ip, _, _ := strings.Cut(addr, "/"); ip != "" {
			s += ip + "\t" + c.Hostname + "\n"
		}
	}
	return s
}

// resolvConf returns /etc/resolv.conf (resolv.conf(5)). When the network
// provides the name servers, or is a network namespace of the host, the file is a link
// to the list that package inet maintains.
func resolvConf(c *boot.Config, vm bool) defaultFile {
	const path = "/etc/resolv.conf"
	if vm && !c.Net.Addressed() && (c.Net == nil || len(c.Net.DNS) == 0) || c.Sockets.Whole() {
		return defaultFile{path, linux.S_IFLNK | 0o777, "/proc/net/" + boot.SocketResolver}
	}
	s := ""
	if c.Net != nil {
		for _, server := range c.Net.DNS {
			s += "nameserver " + server + "\n"
		}
	}
	return defaultFile{path, linux.S_IFREG | 0o644, s}
}
