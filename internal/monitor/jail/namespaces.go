package jail

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a kind of namespace (namespaces(7)).
type Namespace struct {
	Name string // in /proc/self/ns
	flag uintptr
}

// Namespaces is a set of namespaces.
type Namespaces []Namespace

// AllNamespaces are the kinds that a jail tries to get, the least important last. With a
// user namespace an unprivileged process can make the other kinds.
var AllNamespaces = Namespaces{
	{"user", unix.CLONE_NEWUSER},
	{"mnt", unix.CLONE_NEWNS},
	{"pid", unix.CLONE_NEWPID},
	{"net", unix.CLONE_NEWNET},
	{"ipc", unix.CLONE_NEWIPC},
	{"uts", unix.CLONE_NEWUTS},
	{"cgroup", unix.CLONE_NEWCGROUP},
}

// attempts returns the sets of namespaces to try, strongest first. It begins with all
// kinds that the kernel knows, then leaves some out. Then come the same sets without a
// user namespace, which need privileges. The last set is empty.
func attempts() []Namespaces {
	var known Namespaces
	for _, ns := range AllNamespaces {
		if _, err := os.Lstat(filepath.Join("/proc/self/ns", ns.Name)); err == nil {
			known = append(known, ns)
		}
	}
	var sets []Namespaces
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

// refused reports whether err means that the host does not allow a set of namespaces
// (clone(2), "ERRORS"). A smaller set may still work.
func refused(err error) bool {
	for _, e := range []error{unix.EPERM, unix.EACCES, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.ENOSYS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (set Namespaces) flags() (flags uintptr) {
	for _, ns := range set {
		flags |= ns.flag
	}
	return flags
}

// String returns the names of the namespaces.
func (set Namespaces) String() string {
	if len(set) == 0 {
		return "none"
	}
	names := make([]string, len(set))
	for i, ns := range set {
		names[i] = ns.Name
	}
	return strings.Join(names, ", ")
}
