package file

import "github.com/pith-os/pith/libos/linux"

// StatAnonymous stores the attributes of a file without an inode of its own, such as
// an epoll instance or an eventfd. All such files have the same, as on Linux.
func StatAnonymous(st *linux.Stat) linux.Errno {
	*st = linux.Stat{Dev: 14, Ino: 1, Nlink: 1, Mode: 0o600, Blksize: 4096}
	return 0
}
