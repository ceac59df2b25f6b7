// Package cred is who the program is: its user and group ids and its
// capabilities (credentials(7), capabilities(7)). Package sys changes them for
// the system calls; packages vfs, memfs, unix and inet ask what they permit.
//
// They are the process's. Linux keeps them for each thread, and package syscall
// changes those of all threads alike; here there is one set to begin with.
package cred

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
)

// IDs are the four ids of a user or a group. FS is the one that files are
// checked against; it follows Effective unless setfsuid(2) changed it.
type IDs struct{ Real, Effective, Saved, FS uint32 }

// Includes says whether v is the real, the effective or the saved id.
func (id *IDs) Includes(v uint32) bool { return v == id.Real || v == id.Effective || v == id.Saved }

// root says whether one of those that count for capabilities is 0.
func (id *IDs) root() bool { return id.Includes(0) }

// Caps is a set of capabilities: bit n is capability n.
type Caps uint64

// All are the capabilities that there are.
const All Caps = 1<<(linux.CAP_LAST_CAP+1) - 1

// Of is the set with one capability.
func Of(capability int) Caps { return 1 << capability }

// filesystem are those that follow the file system's user id (capabilities(7),
// "Effect of user ID changes on capabilities").
const filesystem Caps = 1<<linux.CAP_CHOWN | 1<<linux.CAP_DAC_OVERRIDE | 1<<linux.CAP_DAC_READ_SEARCH |
	1<<linux.CAP_FOWNER | 1<<linux.CAP_FSETID | 1<<linux.CAP_LINUX_IMMUTABLE |
	1<<linux.CAP_MKNOD | 1<<linux.CAP_MAC_OVERRIDE

// Credentials are never changed: Change replaces them.
type Credentials struct {
	UID, GID IDs
	Groups   []uint32 // supplementary, sorted
	// The sets of capabilities(7). There is no execve, which alone would give
	// meaning to the ambient set.
	Effective, Permitted, Inheritable, Bounding Caps
	KeepCaps                                    bool // PR_SET_KEEPCAPS
}

var (
	current  atomic.Pointer[Credentials]
	changing sync.Mutex
)

func init() { current.Store(&Credentials{Effective: All, Permitted: All, Bounding: All}) }

// Current are the program's credentials now.
func Current() *Credentials { return current.Load() }

// Has says whether the program may now do what capability permits.
func Has(capability int) bool { return Current().Has(capability) }

// Change replaces the credentials by what change makes of a copy, unless it
// fails.
func Change(change func(c *Credentials) linux.Errno) linux.Errno {
	changing.Lock()
	defer changing.Unlock()
	c := *current.Load()
	if errno := change(&c); errno != 0 {
		return errno
	}
	current.Store(&c)
	return 0
}

// Has says whether capability is in the effective set.
func (c *Credentials) Has(capability int) bool { return c.Effective&Of(capability) != 0 }

// InGroup says whether the group of a file is one of the program's.
func (c *Credentials) InGroup(gid uint32) bool {
	if gid == c.GID.FS {
		return true
	}
	_, found := slices.BinarySearch(c.Groups, gid)
	return found
}

// Owns says whether the program may do what the owner of a file may.
func (c *Credentials) Owns(uid uint32) bool { return uid == c.UID.FS || c.Has(linux.CAP_FOWNER) }

// Real are the credentials that access(2) checks: the real ids, and the
// capabilities that they would have.
func (c *Credentials) Real() *Credentials {
	r := *c
	r.UID.FS, r.GID.FS = c.UID.Real, c.GID.Real
	r.Effective = 0
	if c.UID.Real == 0 {
		r.Effective = c.Permitted
	}
	return &r
}
