package file

import "github.com/pith-os/pith/libos/linux"

// StatAnonymous are the attributes of a file that has no inode of its own, as
// those that epoll_create and eventfd make: like Linux, one for all.
func StatAnonymous(st *linux.Stat) linux.Errno {
	*st = linux.Stat{Dev: 14, Ino: 1, Nlink: 1, Mode: 0o600, Blksize: 4096}
	return 0
}
