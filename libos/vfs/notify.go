package vfs

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
)

// Watcher receives the events that inotify(7) reports. mask is one of
// linux.IN_*, with IN_ISDIR when the subject is a directory. target is the
// inode whose watches get the event. name is the entry's name for an event in
// directory target, and empty for an event of target itself. cookie joins the
// two halves of a move.
//
// A Watcher may be called with the tree locked, so it must only queue the
// event.
type Watcher func(target Inode, name string, mask, cookie uint32)

var (
	watcher    atomic.Pointer[Watcher]
	lastCookie atomic.Uint32
)

// SetWatcher makes w receive every event; nil stops that. Package inotify calls
// SetWatcher for the first watch and after the last one goes, so without
// watches an event costs one load.
func SetWatcher(w Watcher) {
	if w == nil {
		watcher.Store(nil)
		return
	}
	watcher.Store(&w)
}

// Notify reports mask for d's inode, to the watches of its directory and to its
// own. Files call it with the tree unlocked.
func (d *Dentry) Notify(mask uint32) {
	w := watcher.Load()
	if w == nil {
		return
	}
	tree.RLock()
	defer tree.RUnlock()
	mask |= dirBit(d.inode)
	if d.parent != nil {
		(*w)(d.parent.inode, d.name, mask, 0)
	}
	(*w)(d.inode, "", mask, 0)
}

// The functions below are called with the tree locked.

// notifyEntry reports mask for d's name to its directory.
func notifyEntry(d *Dentry, mask uint32) {
	if w := watcher.Load(); w != nil {
		(*w)(d.parent.inode, d.name, mask|dirBit(d.inode), 0)
	}
}

// notifySelf reports mask to the watches of inode.
func notifySelf(inode Inode, mask uint32) {
	if w := watcher.Load(); w != nil {
		(*w)(inode, "", mask|dirBit(inode), 0)
	}
}

// notifyRemoved reports to the watches of d's inode that one of its names is
// gone, and whether that was the last.
func notifyRemoved(d *Dentry) {
	w := watcher.Load()
	if w == nil {
		return
	}
	if dirBit(d.inode) == 0 {
		(*w)(d.inode, "", linux.IN_ATTRIB, 0)
		var st linux.Stat
		if d.inode.Stat(&st); st.Nlink > 0 {
			return
		}
	}
	// The kernel adds IN_ISDIR to neither of these two.
	(*w)(d.inode, "", linux.IN_DELETE_SELF, 0)
}

func notifyMoved(src, dst *last, d *Dentry) {
	w := watcher.Load()
	if w == nil {
		return
	}
	cookie, bit := lastCookie.Add(1), dirBit(d.inode)
	(*w)(src.dir.inode, src.name, linux.IN_MOVED_FROM|bit, cookie)
	(*w)(dst.dir.inode, dst.name, linux.IN_MOVED_TO|bit, cookie)
	(*w)(d.inode, "", linux.IN_MOVE_SELF, 0)
}

func dirBit(inode Inode) uint32 {
	if _, ok := inode.(Dir); ok {
		return linux.IN_ISDIR
	}
	return 0
}
