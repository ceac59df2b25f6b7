package jail

import (
	"bufio"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unprivileged is the user and group of a jail that root starts. By convention this is
// the user nobody. It is also the kernel's overflowuid.
const Unprivileged = 65534

// Identity is the user and group of a jail.
type Identity struct {
	UID, GID int  // the jail changes to these; 0: no change
	asRoot   bool // the monitor is root and can change to them
}

// ChooseIdentity returns the least privileged identity that this process can give to a
// jail.
func ChooseIdentity() Identity {
	if os.Geteuid() == 0 && CanChangeUser(Unprivileged, Unprivileged) {
		return Identity{Unprivileged, Unprivileged, true}
	}
	return Identity{}
}

// NewIdentity returns the identity of a user and group that are not root's. This process
// must be able to change to them.
func NewIdentity(uid, gid int) (Identity, error) {
	if os.Geteuid() != 0 || !CanChangeUser(uid, gid) {
		return Identity{}, fmt.Errorf("this process cannot change to user %d and group %d: run pith as root, with CAP_SETUID and CAP_SETGID, where both ids exist", uid, gid)
	}
	return Identity{uid, gid, true}, nil
}

// CanChangeUser reports whether this process may change to uid and gid. It needs the
// capabilities, and both ids must exist in its user namespace.
func CanChangeUser(uid, gid int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return false
	}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	return caps[0].Effective&need == need && mapped("/proc/self/uid_map", uid) && mapped("/proc/self/gid_map", gid)
}

// mapped reports whether an id is in a map. Each line of the map has the first id
// inside, the first id outside, and a count (user_namespaces(7)).
func mapped(file string, id int) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var inside, outside, count int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &count); err != nil {
			return false
		}
		if inside <= id && id < inside+count {
			return true
		}
	}
	return false
}

// attributes returns the attributes of the jail's process in the given namespaces.
// The jail has its own session, so that signals of a terminal reach only the monitor.
func (id Identity) attributes(set Namespaces) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: set.flags(),
		Setsid:     true,
		Pdeathsig:  unix.SIGKILL,
	}
	if attr.Cloneflags&unix.CLONE_NEWUSER == 0 {
		return attr
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	if id.asRoot {
		attr.UidMappings = append(attr.UidMappings, syscall.SysProcIDMap{ContainerID: id.UID, HostID: id.UID, Size: 1})
		attr.GidMappings = append(attr.GidMappings, syscall.SysProcIDMap{ContainerID: id.GID, HostID: id.GID, Size: 1})
		attr.GidMappingsEnableSetgroups = true
	}
	return attr
}
