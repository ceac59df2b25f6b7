package file

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// MaxDescriptors is the limit on descriptors, RLIMIT_NOFILE.
const MaxDescriptors = 1 << 16

// Table is a table of file descriptors. A lookup takes no lock: the slots are atomic,
// and a larger array replaces the array of slots.
type Table struct {
	slots atomic.Pointer[[]slot]
	mu    sync.Mutex // held to change the table
	free  int        // all descriptors below are in use
}

type slot struct{ d atomic.Pointer[descriptor] }

// descriptor is the open file of a number. dup makes a descriptor with the same open.
type descriptor struct {
	file    File // open.File: a copy saves a load in every system call
	open    *Open
	cloexec atomic.Bool
	poll    poll // the attached pollDesc of the runtime
}

type poll struct {
	mu    sync.Mutex
	pd    uintptr
	entry wait.Entry
}

// Get returns the open file of fd, or nil.
func (t *Table) Get(fd int) File {
	if d := t.get(fd); d != nil {
		return d.file
	}
	return nil
}

func (t *Table) get(fd int) *descriptor {
	s := t.slots.Load()
	if s == nil || uint(fd) >= uint(len(*s)) {
		return nil
	}
	return (*s)[fd].d.Load()
}

// Install gives f the lowest free descriptor that is at least min.
func (t *Table) Install(f File, min int, cloexec bool) (int, linux.Errno) {
	return t.install(&Open{File: f}, min, cloexec)
}

func (t *Table) install(o *Open, min int, cloexec bool) (int, linux.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fd := max(min, t.free)
	for t.get(fd) != nil {
		fd++
	}
	if fd >= MaxDescriptors {
		return 0, linux.EMFILE
	}
	if min <= t.free {
		t.free = fd + 1
	}
	t.put(fd, o, cloexec)
	return fd, 0
}

// put makes fd a descriptor of o, with t.mu held.
func (t *Table) put(fd int, o *Open, cloexec bool) {
	s := t.slots.Load()
	if s == nil || fd >= len(*s) {
		grown := make([]slot, max(64, 2*fd))
		if s != nil {
			for i := range *s {
				grown[i].d.Store((*s)[i].d.Load())
			}
		}
		s = &grown
		t.slots.Store(s)
	}
	d := &descriptor{file: o.File, open: o}
	d.cloexec.Store(cloexec)
	o.refs.Add(1)
	(*s)[fd].d.Store(d)
}

// Dup is dup(2) and F_DUPFD: it returns a further descriptor of fd's file, the lowest
// free one that is at least min.
func (t *Table) Dup(fd, min int, cloexec bool) (int, linux.Errno) {
	o := t.Hold(fd)
	if o == nil {
		return 0, linux.EBADF
	}
	defer o.Drop()
	return t.install(o, min, cloexec)
}

// DupTo is dup3(2): it closes to, if it is open, and makes it a descriptor of fd's
// file.
func (t *Table) DupTo(fd, to int, cloexec bool) linux.Errno {
	if to < 0 || to >= MaxDescriptors {
		return linux.EBADF
	}
	t.mu.Lock()
	d := t.get(fd)
	if d == nil {
		t.mu.Unlock()
		return linux.EBADF
	}
	old := t.get(to)
	t.put(to, d.open, cloexec)
	t.mu.Unlock()
	old.close()
	return 0
}

// Close closes fd. The file is released with its last reference.
func (t *Table) Close(fd int) linux.Errno {
	t.mu.Lock()
	d := t.get(fd)
	if d == nil {
		t.mu.Unlock()
		return linux.EBADF
	}
	(*t.slots.Load())[fd].d.Store(nil)
	t.free = min(t.free, fd)
	t.mu.Unlock()
	d.close()
	return 0
}

// close drops a descriptor that is no longer in the table.
func (d *descriptor) close() {
	if d == nil {
		return
	}
	d.detach()
	d.open.Drop()
}

// CloseOnExec is F_GETFD.
func (t *Table) CloseOnExec(fd int) (bool, linux.Errno) {
	d := t.get(fd)
	if d == nil {
		return false, linux.EBADF
	}
	return d.cloexec.Load(), 0
}

// SetCloseOnExec is F_SETFD.
func (t *Table) SetCloseOnExec(fd int, on bool) linux.Errno {
	d := t.get(fd)
	if d == nil {
		return linux.EBADF
	}
	d.cloexec.Store(on)
	return 0
}

// Each calls fn for every open descriptor, in ascending order.
func (t *Table) Each(fn func(fd int, f File)) {
	s := t.slots.Load()
	if s == nil {
		return
	}
	for i := range *s {
		if d := (*s)[i].d.Load(); d != nil {
			fn(i, d.file)
		}
	}
}
