package block

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Backend is the storage of a disk: a regular file or a block device.
type Backend struct {
	// File may be passed to another process. As long as any process has it open,
	// Open fails for writing. If File itself is open for writing, Open fails for
	// reading as well.
	File *os.File
	Info Info
}

// Info is what a Device needs to know about its file. Sizes are in bytes.
type Info struct {
	Size      int64
	BlockSize int  // logical block size: the unit of reads and writes
	Physical  int  // physical block size: the unit of efficient reads and writes
	ReadOnly  bool // the guest cannot write
	// Direct reports whether the file is open with O_DIRECT, so that the host does
	// not cache it. Not every file system supports O_DIRECT.
	Direct bool
	ID     string // the serial string that the guest reads (VIRTIO_BLK_T_GET_ID)
}

const maxBlockSize = 64 << 10

func (i *Info) check() error {
	power := func(n int) bool { return n >= sector && n <= maxBlockSize && n&(n-1) == 0 }
	switch {
	case !power(i.BlockSize) || !power(i.Physical) || i.Physical < i.BlockSize:
		return fmt.Errorf("invalid block sizes: logical %d bytes, physical %d bytes", i.BlockSize, i.Physical)
	case i.Size <= 0 || i.Size%int64(i.BlockSize) != 0:
		return fmt.Errorf("its size of %d bytes is not a multiple of its block size of %d", i.Size, i.BlockSize)
	}
	return nil
}

// Open opens the file or block device of a disk.
func Open(path string, readOnly bool) (*Backend, error) {
	b := &Backend{Info: Info{ReadOnly: readOnly, ID: filepath.Base(path)}}
	err := b.open(path, unix.O_DIRECT)
	if errors.Is(err, errNotDirect) {
		err = b.open(path, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", path, err)
	}
	return b, nil
}

// Close closes the file in this process.
func (b *Backend) Close() error { return b.File.Close() }

// errNotDirect reports that a file cannot be opened with O_DIRECT, or that its
// last block cannot be read that way.
var errNotDirect = errors.New("cannot be read with O_DIRECT")

func (b *Backend) open(path string, direct int) error {
	// O_NONBLOCK: path may name a FIFO, whose open would block. O_EXCL: the open
	// fails for a block device that the host uses, for example one that is
	// mounted.
	flags := unix.O_CLOEXEC | unix.O_NONBLOCK | direct
	if b.Info.ReadOnly {
		flags |= unix.O_RDONLY
	} else {
		flags |= unix.O_RDWR | unix.O_EXCL
	}
	fd, err := unix.Open(path, flags, 0)
	switch {
	case errors.Is(err, unix.EINVAL) && direct != 0:
		return errNotDirect
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("open: %w: it is mounted, or in use by another program", err)
	case (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)) && !b.Info.ReadOnly:
		return fmt.Errorf("open for writing: %w; to attach it read-only, add :ro", err)
	case err != nil:
		return fmt.Errorf("open: %w", err)
	}
	if err := b.look(fd, direct != 0); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	b.File = os.NewFile(uintptr(fd), path)
	return nil
}

// look checks that the file is suitable for a disk, locks it, and fills in
// Info.
func (b *Backend) look(fd int, direct bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFBLK {
		return errors.New("neither a regular file nor a block device")
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	size, err := unix.Seek(fd, 0, io.SeekEnd)
	switch {
	case err != nil:
		return os.NewSyscallError("lseek", err)
	case size == 0:
		return errors.New("it is empty; truncate -s SIZE gives a file a size")
	case size%sector != 0:
		return fmt.Errorf("its size of %d bytes is not a multiple of %d; a file can be made longer with truncate -s %%%d", size, sector, sector)
	}
	if err := lock(fd, !b.Info.ReadOnly); err != nil {
		return err
	}
	b.Info.Size, b.Info.Direct, b.Info.BlockSize, b.Info.Physical = size, direct, sector, int(st.Blksize)
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		if b.Info.BlockSize, err = unix.IoctlGetInt(fd, unix.BLKSSZGET); err != nil {
			return os.NewSyscallError("ioctl BLKSSZGET", err)
		}
		if b.Info.Physical, err = unix.IoctlGetInt(fd, unix.BLKPBSZGET); err != nil {
			return os.NewSyscallError("ioctl BLKPBSZGET", err)
		}
	}
	if direct {
		if b.Info.BlockSize, err = directUnit(fd, b.Info.BlockSize, size); err != nil {
			return err
		}
	}
	if n := b.Info.Physical; n < b.Info.BlockSize || n > maxBlockSize || n&(n-1) != 0 {
		b.Info.Physical = b.Info.BlockSize
	}
	return b.Info.check()
}

// lock takes an open file description lock (fcntl(2)). It excludes other users
// of the file that lock it in the same way, such as QEMU. The lock belongs to
// the open file, so a process that receives the descriptor has the lock too.
func lock(fd int, write bool) error {
	l := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if write {
		l.Type = unix.F_WRLCK
	}
	switch err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &l); {
	case err == nil:
		return nil
	case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
		return fmt.Errorf("lock: %w", err)
	case write:
		return errors.New("another instance, or another disk of this one, uses it, so it cannot be written; several can share it if all of them add :ro")
	}
	return errors.New("another instance, or another disk of this one, writes it, so a reader would see inconsistent data")
}

// directUnit returns the smallest unit, from least on, that O_DIRECT can read.
// Not all kernels report it, so directUnit tries. It returns errNotDirect if
// the disk is not a whole number of units.
func directUnit(fd, least int, size int64) (int, error) {
	const most = 4096
	buf := aligned(most, most)
	for n := least; n <= most && size%int64(n) == 0; n *= 2 {
		// Read the last unit, at an offset that is not a multiple of a larger unit.
		off := size - int64(n)
		if off%int64(2*n) == 0 && off > 0 {
			off -= int64(n)
		}
		switch m, err := unix.Pread(fd, buf[:n], off); {
		case err == nil && m == n:
			return n, nil
		case err != nil && !errors.Is(err, unix.EINVAL):
			return 0, fmt.Errorf("read: %w", err)
		}
	}
	return 0, errNotDirect
}

// aligned returns n bytes of memory whose address is a multiple of unit.
func aligned(n, unit int) []byte {
	b := make([]byte, n+unit)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (unit - 1)
	return b[skip:][:n:n]
}
