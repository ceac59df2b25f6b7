package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespace is a kind of namespace (namespaces(7)).
type namespace struct {
	name string // in /proc/self/ns
	flag uintptr
}

// namespaces are the kinds that a jail tries to get, the least important last:
// user is what lets the others be had without privilege.
var namespaces = []namespace{
	{"user", unix.CLONE_NEWUSER},
	{"mnt", unix.CLONE_NEWNS},
	{"pid", unix.CLONE_NEWPID},
	{"net", unix.CLONE_NEWNET},
	{"ipc", unix.CLONE_NEWIPC},
	{"uts", unix.CLONE_NEWUTS},
	{"cgroup", unix.CLONE_NEWCGROUP},
}

// attempts are the sets of namespaces to try, strongest first: all that the
// kernel knows, then fewer, then the same without a user namespace (which
// takes privilege), then none.
func attempts() [][]namespace {
	var known []namespace
	for _, ns := range namespaces {
		if _, err := os.Lstat(filepath.Join("/proc/self/ns", ns.name)); err == nil {
			known = append(known, ns)
		}
	}
	var sets [][]namespace
	for len(known) > 0 {
		for n := len(known); n > 0; n-- {
			sets = append(sets, known[:n])
		}
		if known[0].flag != unix.CLONE_NEWUSER {
			break
		}
		known = known[1:]
	}
	return append(sets, nil)
}

// refused says whether err means that the host does not allow a set of
// namespaces, so that a smaller one is worth a try (clone(2), "ERRORS").
func refused(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func flagsOf(set []namespace) (flags uintptr) {
	for _, ns := range set {
		flags |= ns.flag
	}
	return flags
}

func namesOf(set []namespace) string {
	if len(set) == 0 {
		return "none"
	}
	names := make([]string, len(set))
	for i, ns := range set {
		names[i] = ns.name
	}
	return strings.Join(names, ", ")
}

// unprivileged is the user and group that images of root run as: nobody, by
// convention (and the kernel's overflowuid).
const unprivileged = 65534

// identity says who an image runs as.
type identity struct {
	uid, gid int  // to change to; 0: stay
	asRoot   bool // the monitor is root and can change to them
}

func chooseIdentity() identity {
	if os.Geteuid() == 0 && canChangeUser(unprivileged, unprivileged) {
		return identity{unprivileged, unprivileged, true}
	}
	return identity{}
}

// canChangeUser says whether this process may change to uid and gid: it has
// the capabilities, and its user namespace knows both.
func canChangeUser(uid, gid int) bool {
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
func (id identity) attributes(set []namespace) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: flagsOf(set),
		Setsid:     true,
		Pdeathsig:  unix.SIGKILL,
	}
	if attr.Cloneflags&unix.CLONE_NEWUSER == 0 {
		return attr
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	if id.asRoot {
		attr.UidMappings = append(attr.UidMappings, syscall.SysProcIDMap{ContainerID: id.uid, HostID: id.uid, Size: 1})
		attr.GidMappings = append(attr.GidMappings, syscall.SysProcIDMap{ContainerID: id.gid, HostID: id.gid, Size: 1})
		attr.GidMappingsEnableSetgroups = true
	}
	return attr
}
