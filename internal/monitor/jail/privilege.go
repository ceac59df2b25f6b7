package jail

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// securebits are locked flags. User 0 gets no capabilities, and no capability becomes
// ambient (capabilities(7), "The securebits flags").
const securebits = 1<<0 | 1<<1 | // SECBIT_NOROOT, SECBIT_NOROOT_LOCKED
	1<<5 | // SECBIT_KEEP_CAPS_LOCKED
	1<<6 | 1<<7 // SECBIT_NO_CAP_AMBIENT_RAISE and its lock

// Enter takes the root directory and all privileges from this thread. Only the open file
// program stays accessible. Enter returns a description of the new root directory. From
// now on, the kernel kills the process when the monitor ends.
func (r Request) Enter(program int) (root string, err error) {
	return r.enter(program, nil)
}

func (r Request) enter(program int, libraries []string) (root string, err error) {
	root = emptyRoot(r.OwnMounts, program, libraries)
	if err := dropPrivileges(r.UID, r.GID); err != nil {
		return "", err
	}
	// A change of user would clear this setting (prctl(2)), so it comes last. If the
	// monitor has already ended, the report that follows fails.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return "", fmt.Errorf("end with the monitor: %w", err)
	}
	return root, nil
}

// dropPrivileges takes all capabilities from this thread, and every way to get one. If
// uid is not 0, the thread becomes that user. It makes raw system calls, which affect
// only this thread. The functions of package unix would affect all threads.
func dropPrivileges(uid, gid int) error {
	if err := dropBoundingSet(); err != nil {
		return err
	}
	// EPERM means that the thread lacks CAP_SETPCAP. Such a thread has no capabilities
	// to lose.
	err := unix.Prctl(unix.PR_SET_SECUREBITS, securebits, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set secure bits: %w", err)
	}
	if uid != 0 {
		if err := changeUser(uid, gid); err != nil {
			return fmt.Errorf("change to user %d, group %d: %w", uid, gid, err)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	// Writable memory of the jail never becomes executable, not even by program
	// headers. This needs Linux 6.3. The filter refuses PROT_EXEC on every kernel.
	err = unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("deny writable and executable memory: %w", err)
	}
	return nil
}

// dropBoundingSet empties the bounding set. If the host does not permit this,
// no_new_privs still keeps execveat from giving capabilities.
func dropBoundingSet() error {
	for c := uintptr(0); ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // c is above the kernel's last capability
		}
		if err == nil && has == 1 {
			err = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		}
		if errors.Is(err, unix.EPERM) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
}

func changeUser(uid, gid int) error {
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
		{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
	} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return errno
		}
	}
	return nil
}
