package cred

import (
	"slices"

	"github.com/pith-os/pith/libos/linux"
)

// Keep, passed as an ID, leaves that ID unchanged: the -1 of setreuid(2) and
// similar calls.
const Keep = ^uint32(0)

// kind is the user's or the group's half of the credentials. The calls for both
// have the same rules, except that capabilities follow the user IDs.
type kind struct {
	ids        func(c *Credentials) *IDs
	capability int // permits any ID
}

// The two kinds of IDs.
var (
	User  = kind{func(c *Credentials) *IDs { return &c.UID }, linux.CAP_SETUID}
	Group = kind{func(c *Credentials) *IDs { return &c.GID }, linux.CAP_SETGID}
)

// Set is setuid(2) and setgid(2).
func (k kind) Set(v uint32) linux.Errno {
	if v == Keep {
		return linux.EINVAL
	}
	return k.change(func(id *IDs, any bool) linux.Errno {
		switch {
		case any:
			*id = IDs{v, v, v, v}
		case v == id.Real || v == id.Saved:
			id.Effective, id.FS = v, v
		default:
			return linux.EPERM
		}
		return 0
	})
}

// SetRE is setreuid(2) and setregid(2).
func (k kind) SetRE(real, effective uint32) linux.Errno {
	return k.change(func(id *IDs, any bool) linux.Errno {
		old := *id
		if real != Keep {
			if !any && real != old.Real && real != old.Effective {
				return linux.EPERM
			}
			id.Real = real
		}
		if effective != Keep {
			if !any && !old.Includes(effective) {
				return linux.EPERM
			}
			id.Effective = effective
		}
		if real != Keep || effective != Keep && effective != old.Real {
			id.Saved = id.Effective
		}
		id.FS = id.Effective
		return 0
	})
}

// SetRES is setresuid(2) and setresgid(2).
func (k kind) SetRES(real, effective, saved uint32) linux.Errno {
	return k.change(func(id *IDs, any bool) linux.Errno {
		old := *id
		same := func(v, is uint32) bool { return v == Keep || v == is }
		if same(real, old.Real) && same(saved, old.Saved) &&
			(effective == Keep || effective == old.Effective && effective == old.FS) {
			return 0 // the file system ID stays, too
		}
		for _, set := range []struct {
			to *uint32
			v  uint32
		}{{&id.Real, real}, {&id.Effective, effective}, {&id.Saved, saved}} {
			if set.v == Keep {
				continue
			}
			if !any && !old.Includes(set.v) {
				return linux.EPERM
			}
			*set.to = set.v
		}
		id.FS = id.Effective
		return 0
	})
}

// SetFS is setfsuid(2) and setfsgid(2). It returns the previous ID, whether or
// not it changes the ID.
func (k kind) SetFS(v uint32) (was uint32) {
	refused := Change(func(c *Credentials) linux.Errno {
		id := k.ids(c)
		was = id.FS
		if v == Keep || !c.Has(k.capability) && !id.Includes(v) && v != id.FS {
			return linux.EPERM
		}
		id.FS = v
		if k.capability == linux.CAP_SETUID {
			c.followFS(was == 0)
		}
		return 0
	})
	_ = refused // a program notices by calling again (setfsuid(2), "BUGS")
	return was
}

// change changes IDs of this kind. set is called with any true when every ID is
// permitted.
func (k kind) change(set func(id *IDs, any bool) linux.Errno) linux.Errno {
	return Change(func(c *Credentials) linux.Errno {
		old := c.UID
		errno := set(k.ids(c), c.Has(k.capability))
		c.follow(&old)
		return errno
	})
}

// follow adapts the capabilities to changed user IDs (capabilities(7), "Effect
// of user ID changes on capabilities").
func (c *Credentials) follow(old *IDs) {
	if old.root() && !c.UID.root() && !c.KeepCaps {
		c.Permitted, c.Effective = 0, 0
	}
	switch was, is := old.Effective == 0, c.UID.Effective == 0; {
	case was && !is:
		c.Effective = 0
	case !was && is:
		c.Effective = c.Permitted
	}
}

// followFS adapts the capabilities to a changed file system user ID.
func (c *Credentials) followFS(wasRoot bool) {
	switch isRoot := c.UID.FS == 0; {
	case wasRoot && !isRoot:
		c.Effective &^= filesystem
	case !wasRoot && isRoot:
		c.Effective |= c.Permitted & filesystem
	}
}

// SetGroups is setgroups(2).
func SetGroups(groups []uint32) linux.Errno {
	groups = slices.Sorted(slices.Values(groups))
	return Change(func(c *Credentials) linux.Errno {
		if !c.Has(linux.CAP_SETGID) {
			return linux.EPERM
		}
		if slices.Contains(groups, Keep) {
			return linux.EINVAL
		}
		c.Groups = groups
		return 0
	})
}

// SetCaps is capset(2). A capability that was dropped cannot be regained.
func SetCaps(effective, permitted, inheritable Caps) linux.Errno {
	return Change(func(c *Credentials) linux.Errno {
		switch {
		case !c.Has(linux.CAP_SETPCAP) && inheritable&^(c.Inheritable|c.Permitted) != 0,
			inheritable&^(c.Inheritable|c.Bounding) != 0,
			permitted&^c.Permitted != 0,
			effective&^permitted != 0:
			return linux.EPERM
		}
		c.Effective, c.Permitted, c.Inheritable = effective, permitted, inheritable
		return 0
	})
}

// DropBounding is PR_CAPBSET_DROP.
func DropBounding(capability uintptr) linux.Errno {
	return Change(func(c *Credentials) linux.Errno {
		switch {
		case !c.Has(linux.CAP_SETPCAP):
			return linux.EPERM
		case capability > linux.CAP_LAST_CAP:
			return linux.EINVAL
		}
		c.Bounding &^= Of(int(capability))
		return 0
	})
}
