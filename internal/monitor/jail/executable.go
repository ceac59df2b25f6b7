package jail

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Executable returns image. If the jail's user could not execute it, Executable
// returns a copy in memory, which the caller closes. The user may lack the
// permission, or the file system may be mounted noexec.
func Executable(image *os.File, uid int) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(image.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: image.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is not a regular file", image.Name())
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(image.Fd()), &fs); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: image.Name(), Err: err}
	}
	if uid == 0 {
		uid = os.Geteuid()
	}
	permission := uint32(0o001)
	if int(st.Uid) == uid {
		permission = 0o100
	}
	if st.Mode&permission != 0 && fs.Flags&unix.ST_NOEXEC == 0 {
		return image, nil
	}
	return InMemory(io.NewSectionReader(image, 0, st.Size))
}

// InMemory returns an executable file with the bytes of r. The file is in memory and on
// no mounted file system.
func InMemory(r io.Reader) (*os.File, error) {
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("copy the program to memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "program")
	defer f.Close() // a file that is open for writing cannot be executed (ETXTBSY)
	if _, err := io.Copy(f, r); err != nil {
		return nil, fmt.Errorf("copy the program to memory: %w", err)
	}
	if err := f.Chmod(0o555); err != nil {
		return nil, fmt.Errorf("copy the program to memory: %w", err)
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}
