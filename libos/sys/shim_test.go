package sys

import "github.com/pith-os/pith/libos/linux"

func init() {
	shim := func(num int, h Handler) {
		if table[num] == nil {
			Register(num, h)
		}
	}
	shim(linux.SYS_READ, func(a *Args) (uintptr, linux.Errno) {
		f := Files.Get(int(a[0]))
		if f == nil {
			return 0, linux.EBADF
		}
		b, _ := Bytes(a[1], a[2])
		return readFile(f, b)
	})
	shim(linux.SYS_WRITE, func(a *Args) (uintptr, linux.Errno) {
		f := Files.Get(int(a[0]))
		if f == nil {
			return 0, linux.EBADF
		}
		b, _ := Bytes(a[1], a[2])
		return writeFile(f, b)
	})
	shim(linux.SYS_CLOSE, func(a *Args) (uintptr, linux.Errno) { return 0, Files.Close(int(a[0])) })
	shim(linux.SYS_DUP, func(a *Args) (uintptr, linux.Errno) {
		fd, errno := Files.Dup(int(a[0]), 0, false)
		return uintptr(fd), errno
	})
	shim(linux.SYS_IOCTL, func(a *Args) (uintptr, linux.Errno) {
		f := Files.Get(int(a[0]))
		if f == nil {
			return 0, linux.EBADF
		}
		return f.Ioctl(uint(a[1]), a[2])
	})
}
