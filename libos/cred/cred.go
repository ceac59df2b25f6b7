// Package cred has the program's credentials: user and group IDs, and
// capabilities (credentials(7), capabilities(7)). Package sys changes them for
// system calls. Packages vfs, memfs, unix and inet ask what they permit.
//
// Credentials belong to the process. Linux keeps them per thread, and package
// syscall changes those of all threads alike.
package cred

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
)

// IDs are the four IDs of a user or a group. FS is the one for file
// permissions. It follows Effective unless setfsuid(2) changed it.
type IDs struct{ Real, Effective, Saved, FS uint32 }

// Includes reports whether v is the real, the effective or the saved ID.
func (id *IDs) Includes(v uint32) bool { return v == id.Real || v == id.Effective || v == id.Saved }

// root reports whether one of the IDs that determine capabilities is 0.
func (id *IDs) root() bool { return id.Includes(0) }

// Caps is a set of capabilities: bit n is capability n.
type Caps uint64

// All is the set of all capabilities.
const All Caps = 1<<(linux.CAP_LAST_CAP+1) - 1

// Of returns the set with one capability.
func Of(capability int) Caps { return 1 << capability }

// filesystem are the capabilities that follow the file system user ID
// (capabilities(7), "Effect of user ID changes on capabilities").
const filesystem Caps = 1<<linux.CAP_CHOWN | 1<<linux.CAP_DAC_OVERRIDE | 1<<linux.CAP_DAC_READ_SEARCH |
	1<<linux.CAP_FOWNER | 1<<linux.CAP_FSETID | 1<<linux.CAP_LINUX_IMMUTABLE |
	1<<linux.CAP_MKNOD | 1<<linux.CAP_MAC_OVERRIDE

// Credentials are immutable: Change replaces them.
type Credentials struct {
	UID, GID IDs
	Groups   []uint32 // supplementary, sorted
	// The sets of capabilities(7). The ambient set is missing: it only matters for
	// execve, which a unikernel does not have.
	Effective, Permitted, Inheritable, Bounding Caps
	KeepCaps                                    bool // PR_SET_KEEPCAPS
}

var (
	current  atomic.Pointer[Credentials]
	changing sync.Mutex
)

func init() { current.Store(&Credentials{Effective: All, Permitted: All, Bounding: All}) }

// Current returns the program's credentials.
func Current() *Credentials { return current.Load() }

// Has reports whether capability is in the program's effective set.
func Has(capability int) bool { return Current().Has(capability) }

// Change calls change with a copy of the credentials, and makes the copy
// current unless change fails.
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

// Has reports whether capability is in the effective set.
func (c *Credentials) Has(capability int) bool { return c.Effective&Of(capability) != 0 }

// InGroup reports whether the program is in group gid.
func (c *Credentials) InGroup(gid uint32) bool {
	if gid == c.GID.FS {
		return true
	}
	_, found := slices.BinarySearch(c.Groups, gid)
	return found
}

// Owns reports whether the program has the rights of the owner of a file of
// user uid.
func (c *Credentials) Owns(uid uint32) bool { return uid == c.UID.FS || c.Has(linux.CAP_FOWNER) }

// Real returns the credentials that access(2) checks: the real IDs, and the
// capabilities that follow from them.
func (c *Credentials) Real() *Credentials {
	r := *c
	r.UID.FS, r.GID.FS = c.UID.Real, c.GID.Real
	r.Effective = 0
	if c.UID.Real == 0 {
		r.Effective = c.Permitted
	}
	return &r
}
