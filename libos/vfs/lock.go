package vfs

import (
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// Locks are advisory. Locks of flock(2) and OFD locks of fcntl(2) belong to
// open files. POSIX locks of fcntl(2) belong to the program and so conflict
// with OFD locks only. Functions that cannot lock return EAGAIN.

// LockChanges wakes waiters (wait.In) when a lock is released.
var LockChanges wait.Queue

// lockTable has the locks of each object. The key is an Inode, or the file.File
// itself for a file that is not in the tree.
var lockTable = struct {
	sync.Mutex
	objects map[any]*locks
	n       atomic.Int32 // number of objects, so that closing a file need not take the mutex
}{objects: map[any]*locks{}}

type locks struct {
	whole  map[file.File]int16 // flock(2): F_RDLCK or F_WRLCK
	ranges []rangeLock         // fcntl(2)
}

type rangeLock struct {
	owner       file.File // nil: the program
	typ         int16
	first, last int64 // inclusive
}

func lockKey(f file.File) any {
	if d := DentryOf(f); d != nil {
		return d.inode
	}
	return f
}

// withLocks calls fn with the locks of the object that f has open. fn reports
// whether it released some of them, and withLocks then wakes the waiters.
func withLocks(f file.File, fn func(l *locks) (released bool)) {
	key := lockKey(f)
	lockTable.Lock()
	l := lockTable.objects[key]
	if l == nil {
		l = &locks{whole: map[file.File]int16{}}
	}
	released := fn(l)
	if len(l.whole)+len(l.ranges) > 0 {
		lockTable.objects[key] = l
	} else {
		delete(lockTable.objects, key)
	}
	lockTable.n.Store(int32(len(lockTable.objects)))
	lockTable.Unlock()
	if released {
		LockChanges.Notify(wait.In)
	}
}

// Flock is flock(2) without waiting; typ is F_RDLCK, F_WRLCK or F_UNLCK. As in
// Linux, it releases a lock of another type before it tries the new one.
func Flock(f file.File, typ int16) (errno linux.Errno) {
	withLocks(f, func(l *locks) (released bool) {
		old, held := l.whole[f]
		if held && old == typ {
			return false
		}
		delete(l.whole, f)
		if typ == linux.F_UNLCK {
			return held
		}
		for _, other := range l.whole {
			if other == linux.F_WRLCK || typ == linux.F_WRLCK {
				errno = linux.EAGAIN
				return held
			}
		}
		l.whole[f] = typ
		return held
	})
	return errno
}

// SetLock is F_SETLK, or F_OFD_SETLK when ofd.
func SetLock(f file.File, fl *linux.Flock, ofd bool) (errno linux.Errno) {
	r, errno := newRange(f, fl, ofd)
	if errno != 0 {
		return errno
	}
	mode := f.Flags() & linux.O_ACCMODE
	switch {
	case r.typ == linux.F_RDLCK && mode == linux.O_WRONLY, r.typ == linux.F_WRLCK && mode == linux.O_RDONLY:
		return linux.EBADF
	}
	withLocks(f, func(l *locks) (released bool) {
		if r.typ != linux.F_UNLCK && l.conflict(r) != nil {
			errno = linux.EAGAIN
			return false
		}
		return l.set(r)
	})
	return errno
}

// TestLock is F_GETLK, or F_OFD_GETLK when ofd. It sets fl to the first
// conflicting lock, or sets its type to F_UNLCK.
func TestLock(f file.File, fl *linux.Flock, ofd bool) linux.Errno {
	if fl.Type == linux.F_UNLCK {
		return linux.EINVAL
	}
	r, errno := newRange(f, fl, ofd)
	if errno != 0 {
		return errno
	}
	withLocks(f, func(l *locks) bool {
		fl.Type = linux.F_UNLCK
		c := l.conflict(r)
		if c == nil {
			return false
		}
		*fl = linux.Flock{Type: c.typ, Start: c.first, Len: c.last - c.first + 1, PID: 1}
		if c.last == math.MaxInt64 {
			fl.Len = 0
		}
		if c.owner != nil {
			fl.PID = -1
		}
		return false
	})
	return 0
}

// newRange converts a struct flock (fcntl(2)) to absolute offsets.
func newRange(f file.File, fl *linux.Flock, ofd bool) (rangeLock, linux.Errno) {
	r := rangeLock{typ: fl.Type}
	if ofd {
		r.owner = f
	}
	var from int64
	var errno linux.Errno
	switch fl.Whence {
	case linux.SEEK_SET:
	case linux.SEEK_CUR:
		from, errno = f.Lseek(0, linux.SEEK_CUR)
	case linux.SEEK_END:
		var st linux.Stat
		errno = f.Stat(&st)
		from = st.Size
	default:
		errno = linux.EINVAL
	}
	switch {
	case errno != 0:
		return r, errno
	case fl.Type < linux.F_RDLCK || fl.Type > linux.F_UNLCK:
		return r, linux.EINVAL
	case fl.Start > math.MaxInt64-from:
		return r, linux.EOVERFLOW
	}
	r.first, r.last = from+fl.Start, math.MaxInt64
	switch {
	case r.first < 0:
		return r, linux.EINVAL
	case fl.Len > 0 && fl.Len-1 > math.MaxInt64-r.first:
		return r, linux.EOVERFLOW
	case fl.Len > 0:
		r.last = r.first + fl.Len - 1
	case fl.Len < 0:
		r.first, r.last = r.first+fl.Len, r.first-1
	}
	if r.first < 0 {
		return r, linux.EINVAL
	}
	return r, 0
}

// conflict returns the first lock that conflicts with r, or nil.
func (l *locks) conflict(r rangeLock) *rangeLock {
	for i := range l.ranges {
		o := &l.ranges[i]
		if o.owner != r.owner && o.first <= r.last && r.first <= o.last &&
			(o.typ == linux.F_WRLCK || r.typ == linux.F_WRLCK) {
			return o
		}
	}
	return nil
}

// set replaces what r's owner has locked in r's range: by r, or by nothing for
// F_UNLCK. Neighbours of one type become one lock. set reports whether it
// released a lock.
func (l *locks) set(r rangeLock) (released bool) {
	var kept []rangeLock
	for _, o := range l.ranges {
		joins := o.typ == r.typ && (o.last+1 == r.first || r.last != math.MaxInt64 && r.last+1 == o.first)
		overlaps := o.first <= r.last && r.first <= o.last
		switch {
		case o.owner != r.owner || !overlaps && !joins:
			kept = append(kept, o)
		case o.typ == r.typ:
			r.first, r.last = min(r.first, o.first), max(r.last, o.last)
		default:
			released = true
			if o.first < r.first {
				kept = append(kept, rangeLock{o.owner, o.typ, o.first, r.first - 1})
			}
			if o.last > r.last {
				kept = append(kept, rangeLock{o.owner, o.typ, r.last + 1, o.last})
			}
		}
	}
	if r.typ != linux.F_UNLCK {
		kept = append(kept, r)
	}
	sort.Slice(kept, func(i, j int) bool { return kept[i].first < kept[j].first })
	l.ranges = kept
	return released
}

// DropRecordLocks drops the program's POSIX locks on the object that f has
// open. close(2) of any descriptor of the object calls it.
func DropRecordLocks(f file.File) {
	if lockTable.n.Load() > 0 {
		drop(f, nil)
	}
}

// drop removes the record locks of owner.
func drop(f, owner file.File) {
	withLocks(f, func(l *locks) bool {
		n := len(l.ranges)
		l.ranges = slices.DeleteFunc(l.ranges, func(r rangeLock) bool { return r.owner == owner })
		return len(l.ranges) < n
	})
}

// Closed drops the locks that f holds and notifies inotify. Files call it in
// Release.
func (d *Dentry) Closed(f file.File) {
	if lockTable.n.Load() > 0 {
		drop(f, f)
		Flock(f, linux.F_UNLCK)
	}
	mask := uint32(linux.IN_CLOSE_NOWRITE)
	if f.Flags()&linux.O_ACCMODE != linux.O_RDONLY {
		mask = linux.IN_CLOSE_WRITE
	}
	d.Notify(mask)
}
