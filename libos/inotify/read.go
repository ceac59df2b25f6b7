package inotify

import (
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// header is struct inotify_event without the name, which follows it in len
// bytes. The name is padded with zeros to a multiple of the header's size.
type header struct {
	wd                int32
	mask, cookie, len uint32
}

const headerSize = int(unsafe.Sizeof(header{}))

func (e *event) nameLen() int {
	if e.name == "" {
		return 0
	}
	return (len(e.name)/headerSize + 1) * headerSize
}

func (e *event) size() int { return headerSize + e.nameLen() }

// Read implements file.File. It returns as many events as fit into p, or EINVAL
// when the first does not fit.
func (in *Instance) Read(p []byte) (int, linux.Errno) {
	mu.Lock()
	defer mu.Unlock()
	if len(in.events) == 0 {
		return 0, linux.EAGAIN
	}
	done := 0
	for len(in.events) > 0 {
		e := &in.events[0]
		size := e.size()
		if size > len(p)-done {
			break
		}
		h := header{e.wd, e.mask, e.cookie, uint32(e.nameLen())}
		out := p[done : done+size]
		copy(out, unsafe.Slice((*byte)(unsafe.Pointer(&h)), headerSize))
		clear(out[headerSize:])
		copy(out[headerSize:], e.name)
		done += size
		in.size -= size
		in.events = in.events[1:]
	}
	if done == 0 {
		return 0, linux.EINVAL
	}
	return done, 0
}

// Write implements file.File. The descriptor is read-only.
func (in *Instance) Write([]byte) (int, linux.Errno) { return 0, linux.EBADF }

// Ioctl implements file.File. FIONREAD returns the size of the queued events in
// bytes.
func (in *Instance) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	switch {
	case req != linux.FIONREAD:
		return 0, linux.ENOTTY
	case arg < platform.PageSize:
		return 0, linux.EFAULT
	}
	mu.Lock()
	defer mu.Unlock()
	*(*int32)(platform.Pointer(arg)) = int32(in.size)
	return 0, 0
}

// Ready implements file.File.
func (in *Instance) Ready() wait.Events {
	mu.Lock()
	defer mu.Unlock()
	if len(in.events) > 0 {
		return wait.In
	}
	return 0
}

// Watch implements file.File.
func (in *Instance) Watch() *wait.Queue { return &in.queue }

// Stat implements file.File.
func (in *Instance) Stat(st *linux.Stat) linux.Errno { return file.StatAnonymous(st) }
