package file

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
)

// Open is an open file with a count of references. Descriptors are references, and so
// are messages that pass a file (SCM_RIGHTS in unix(7)). When the last one goes, the
// file is released.
type Open struct {
	File
	refs atomic.Int32

	mu        sync.Mutex
	onRelease map[any]func()
}

// Hold returns fd's open file with a further reference, which the caller must Drop. It
// returns nil if fd is not open.
func (t *Table) Hold(fd int) *Open {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.get(fd)
	if d == nil {
		return nil
	}
	return d.open.Hold()
}

// InstallOpen gives o a further descriptor: the lowest free one that is at least min.
// The caller holds a reference to o.
func (t *Table) InstallOpen(o *Open, min int, cloexec bool) (int, linux.Errno) {
	return t.install(o, min, cloexec)
}

// Hold adds a reference. The caller holds one already.
func (o *Open) Hold() *Open {
	o.refs.Add(1)
	return o
}

// Drop removes a reference.
func (o *Open) Drop() {
	if o.refs.Add(-1) != 0 {
		return
	}
	o.mu.Lock()
	hooks := o.onRelease
	o.onRelease = nil
	o.mu.Unlock()
	for _, fn := range hooks {
		fn()
	}
	o.File.Release()
}

// OnRelease has fn called when the last reference is gone, before the file is
// released. The caller holds a reference. key names fn for CancelRelease.
func (o *Open) OnRelease(key any, fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.onRelease == nil {
		o.onRelease = make(map[any]func())
	}
	o.onRelease[key] = fn
}

// CancelRelease undoes OnRelease. The function may be running, or have run, already.
func (o *Open) CancelRelease(key any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.onRelease, key)
}
