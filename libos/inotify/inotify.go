// Package inotify is inotify(7): files that report what happens to names and
// objects of the tree. It stands on package vfs, which reports every event
// while there is a watch. Package sys makes instances and watches.
package inotify

import (
	"slices"
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/wait"
)

// Limits, as /proc/sys/fs/inotify shows them.
const (
	maxInstances = 128
	maxWatches   = 65536
	maxEvents    = 16384
)

// Groups of bits (include/linux/inotify.h).
const (
	allEvents = linux.IN_ACCESS | linux.IN_MODIFY | linux.IN_ATTRIB | linux.IN_CLOSE_WRITE |
		linux.IN_CLOSE_NOWRITE | linux.IN_OPEN | linux.IN_MOVED_FROM | linux.IN_MOVED_TO |
		linux.IN_CREATE | linux.IN_DELETE | linux.IN_DELETE_SELF | linux.IN_MOVE_SELF
	watchFlags = linux.IN_ONLYDIR | linux.IN_DONT_FOLLOW | linux.IN_EXCL_UNLINK |
		linux.IN_MASK_CREATE | linux.IN_MASK_ADD | linux.IN_ONESHOT
	reported = linux.IN_UNMOUNT | linux.IN_Q_OVERFLOW | linux.IN_IGNORED | linux.IN_ISDIR
)

// mu guards all instances and watches, because an event may concern several.
var (
	mu        sync.Mutex
	instances int
	total     int                            // number of watches
	watches   = make(map[vfs.Inode][]*watch) // by watched inode
)

// watch is an instance's interest in an object.
type watch struct {
	instance *Instance
	wd       int32
	inode    vfs.Inode
	mask     uint32
}

// event is an unread event. Equal events in a row are merged.
type event struct {
	wd           int32
	mask, cookie uint32
	name         string
}

// Instance is the file that inotify_init(2) makes.
type Instance struct {
	file.Base
	queue wait.Queue

	watches map[int32]*watch
	lastWD  int32
	events  []event
	size    int // size of events in bytes, as read(2) returns them
}

// New returns a new instance; flags may have O_NONBLOCK.
func New(flags uint32) (*Instance, linux.Errno) {
	mu.Lock()
	defer mu.Unlock()
	if instances == maxInstances {
		return nil, linux.EMFILE
	}
	instances++
	in := &Instance{watches: make(map[int32]*watch)}
	in.Init(linux.O_RDONLY | flags&linux.O_NONBLOCK)
	return in, 0
}

// Name returns what /proc/self/fd shows.
func (in *Instance) Name() string { return "anon_inode:inotify" }

// Add watches inode for mask, or changes the mask of an existing watch. It
// returns the watch descriptor (inotify_add_watch(2)). Path resolution has
// handled IN_ONLYDIR and IN_DONT_FOLLOW.
func (in *Instance) Add(inode vfs.Inode, mask uint32) (int32, linux.Errno) {
	mu.Lock()
	defer mu.Unlock()
	for _, w := range watches[inode] {
		if w.instance != in {
			continue
		}
		switch {
		case mask&linux.IN_MASK_CREATE != 0:
			return 0, linux.EEXIST
		case mask&linux.IN_MASK_ADD != 0:
			w.mask |= mask & (allEvents | linux.IN_ONESHOT)
		default:
			w.mask = mask & (allEvents | linux.IN_ONESHOT)
		}
		return w.wd, 0
	}
	if total == maxWatches {
		return 0, linux.ENOSPC
	}
	in.lastWD++
	w := &watch{in, in.lastWD, inode, mask & (allEvents | linux.IN_ONESHOT)}
	in.watches[w.wd] = w
	watches[inode] = append(watches[inode], w)
	if total++; total == 1 {
		vfs.SetWatcher(notify)
	}
	return w.wd, 0
}

// ValidMask reports whether inotify_add_watch(2) accepts mask.
func ValidMask(mask uint32) bool {
	const both = linux.IN_MASK_ADD | linux.IN_MASK_CREATE
	return mask&(allEvents|watchFlags|reported) != 0 && mask&both != both
}

// Remove ends a watch (inotify_rm_watch(2)).
func (in *Instance) Remove(wd int32) linux.Errno {
	mu.Lock()
	w := in.watches[wd]
	if w == nil {
		mu.Unlock()
		return linux.EINVAL
	}
	w.end()
	mu.Unlock()
	in.queue.Notify(wait.In)
	return 0
}

// forget drops w, with mu held.
func (w *watch) forget() {
	delete(w.instance.watches, w.wd)
	rest := slices.DeleteFunc(slices.Clone(watches[w.inode]), func(x *watch) bool { return x == w })
	if watches[w.inode] = rest; len(rest) == 0 {
		delete(watches, w.inode)
	}
	if total--; total == 0 {
		vfs.SetWatcher(nil)
	}
}

// end drops w and queues IN_IGNORED, with mu held.
func (w *watch) end() {
	w.forget()
	w.instance.add(event{wd: w.wd, mask: linux.IN_IGNORED})
}

// notify is the vfs.Watcher.
func notify(target vfs.Inode, name string, mask, cookie uint32) {
	// Waiters are woken without the lock, because they may ask at once what is
	// ready.
	for _, in := range queueEvents(target, name, mask, cookie) {
		in.queue.Notify(wait.In)
	}
}

// queueEvents queues the event for the watches of target. It returns the
// instances that have new events.
func queueEvents(target vfs.Inode, name string, mask, cookie uint32) (changed []*Instance) {
	mu.Lock()
	defer mu.Unlock()
	for _, w := range watches[target] {
		told := w.mask&mask&allEvents != 0
		gone := mask&linux.IN_DELETE_SELF != 0 || told && w.mask&linux.IN_ONESHOT != 0
		if told {
			w.instance.add(event{w.wd, mask, cookie, name})
		}
		if gone {
			w.end()
		}
		if told || gone {
			changed = append(changed, w.instance)
		}
	}
	return changed
}

// add queues e, with mu held.
func (in *Instance) add(e event) {
	n := len(in.events)
	switch {
	case n > 0 && in.events[n-1] == e:
		return
	case n > maxEvents:
		return
	case n == maxEvents:
		e = event{wd: -1, mask: linux.IN_Q_OVERFLOW}
	}
	in.events = append(in.events, e)
	in.size += e.size()
}

// Release implements file.File.
func (in *Instance) Release() {
	mu.Lock()
	defer mu.Unlock()
	for _, w := range in.watches {
		w.forget()
	}
	instances--
}
