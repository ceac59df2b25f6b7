package jail

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// emptyRoot hides the host's file system from the jail in the strongest way that the
// host allows, and returns a description of this way. The filter permits no call that
// takes a path, so emptyRoot matters only if the filter has a fault. If the program
// needs libraries, the jail keeps the host's root.
func emptyRoot(ownMounts bool, program int, libraries []string) string {
	alone := len(libraries) == 0
	if alone && ownMounts && pivotToEmpty() == nil {
		return "empty, read-only"
	}
	if alone && chrootToRemoved() == nil {
		return "a removed directory"
	}
	if denyFiles(program, libraries) == nil {
		return "the host's, denied by Landlock"
	}
	return "the host's, out of reach without system calls for it"
}

// pivotToEmpty makes an empty read-only file system the root of this mount
// namespace and detaches the host's. The mount point is /proc. It always exists, because
// this program was executed through it.
func pivotToEmpty() error {
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("pith", "/proc", "tmpfs", flags, "size=4096,mode=0555"); err != nil {
		return fmt.Errorf("mount an empty file system: %w", err)
	}
	if err := unix.Chdir("/proc"); err != nil {
		return err
	}
	// The old root is stacked on the new one (pivot_root(2), "pivot_root(".", ".")").
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	return unix.Chdir("/")
}

// chrootToRemoved makes a removed directory the root. Such a directory is empty and stays
// empty. chrootToRemoved needs only CAP_SYS_CHROOT.
func chrootToRemoved() error {
	dir, err := os.MkdirTemp("", "pith-")
	if err != nil {
		return err
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if removeErr := unix.Rmdir(dir); err == nil && removeErr != nil {
		err = removeErr
	}
	if err != nil {
		return err
	}
	if err := unix.Fchdir(fd); err != nil {
		return err
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	return unix.Chroot(".")
}

// denyFiles denies this thread, and the program that it executes, all access to files
// (landlock(7)). The only exception is the execution of the program and its libraries.
// denyFiles needs no privilege, but it needs Linux 5.13 with Landlock.
func denyFiles(program int, libraries []string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	const execute = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE
	attr := unix.LandlockRulesetAttr{
		Handled_access_fs: execute | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
			unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
			unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
			unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
			unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
			unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM,
	}
	r, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)),
		unsafe.Sizeof(attr.Handled_access_fs), 0)
	if errno != 0 {
		return errno
	}
	ruleset := int(r)
	err := allowFile(ruleset, program, execute)
	for _, path := range libraries {
		if err != nil {
			break
		}
		var fd int
		if fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			err = errors.Join(allowFile(ruleset, fd, execute), unix.Close(fd))
		}
	}
	if err == nil {
		if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, r, 0, 0); errno != 0 {
			err = errno
		}
	}
	return errors.Join(err, unix.Close(ruleset))
}

// allowFile adds a rule to ruleset that allows an access to one file.
func allowFile(ruleset, fd int, access uint64) error {
	allowed := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&allowed)), 0, 0, 0)
	if errno != 0 && errno != unix.EBADFD { // EBADFD: a file in memory, which Landlock does not restrict
		return errno
	}
	return nil
}
