package jail

import (
	"bufio"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Unprivileged is the user and group that root's jails run as: nobody, by
// convention (and the kernel's overflowuid).
const Unprivileged = 65534

// Identity says who a jail runs as.
type Identity struct {
	UID, GID int  // to change to; 0: stay
	asRoot   bool // the monitor is root and can change to them
}

// ChooseIdentity is the one with the least rights that this process can give.
func ChooseIdentity() Identity {
	if os.Geteuid() == 0 && CanChangeUser(Unprivileged, Unprivileged) {
		return Identity{Unprivileged, Unprivileged, true}
	}
	return Identity{}
}

// CanChangeUser says whether this process may change to uid and gid: it has
// the capabilities, and its user namespace knows both.
func CanChangeUser(uid, gid int) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return false
	}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	return caps[0].Effective&need == need && mapped("/proc/self/uid_map", uid) && mapped("/proc/self/gid_map", gid)
}

// mapped says whether an id is in a map (user_namespaces(7): each line is
// first id inside, first id outside, count).
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

// attributes are those of the jail's process in the given namespaces. Its
// session is its own: what a terminal sends reaches the monitor only.
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
