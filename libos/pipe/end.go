package pipe

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// End is an open end of a pipe: for reading, for writing, or of a FIFO for both.
type End struct {
	file.Base
	*Pipe
	reads, writes bool
	// The numbers of opens of the pipe before this one. If a side was open then,
	// its number is one less: Connected sees that open even if it is closed by now.
	readerOpens, writerOpens uint32
}

// Pair returns the two ends of a new pipe (pipe2(2)). flags are O_NONBLOCK and
// O_DIRECT.
func Pair(flags uint32) (r, w *End) {
	p := New()
	r = p.open(linux.O_RDONLY | flags)
	w = p.open(linux.O_WRONLY | flags)
	return r, w
}

func (p *Pipe) open(flags uint32) *End {
	e := &End{Pipe: p}
	e.Init(flags)
	e.reads = flags&linux.O_ACCMODE != linux.O_WRONLY
	e.writes = flags&linux.O_ACCMODE != linux.O_RDONLY
	p.mu.Lock()
	e.readerOpens, e.writerOpens = p.readerOpens, p.writerOpens
	if p.readers > 0 {
		e.readerOpens--
	}
	if p.writers > 0 {
		e.writerOpens--
	}
	if e.reads {
		p.readers++
		p.readerOpens++
	}
	if e.writes {
		p.writers++
		p.writerOpens++
	}
	p.mu.Unlock()
	p.notifyReaders(wait.In)
	p.notifyWriters(wait.Out)
	return e
}

// Read implements file.File.
func (e *End) Read(b []byte) (int, linux.Errno) {
	if !e.reads {
		return 0, linux.EBADF
	}
	return e.read(b)
}

// Write implements file.File.
func (e *End) Write(b []byte) (int, linux.Errno) {
	if !e.writes {
		return 0, linux.EBADF
	}
	return e.write(b, e.Flags()&linux.O_DIRECT != 0)
}

// Ready implements file.File.
func (e *End) Ready() wait.Events {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ev wait.Events
	if e.reads {
		if e.used > 0 {
			ev |= wait.In
		}
		if e.writers == 0 && e.Pipe.writerOpens != e.writerOpens {
			ev |= wait.Hup
		}
	}
	if e.writes {
		if e.used < len(e.slots) {
			ev |= wait.Out
		}
		if e.readers == 0 {
			ev |= wait.Err
		}
	}
	return ev
}

// Watch implements file.File.
func (e *End) Watch() *wait.Queue { return &e.queues[e.Flags()&linux.O_ACCMODE] }

// Release implements file.File.
func (e *End) Release() {
	e.mu.Lock()
	if e.reads {
		e.readers--
	}
	if e.writes {
		e.writers--
	}
	noReader, noWriter := e.readers == 0, e.writers == 0
	if noReader && noWriter { // a FIFO loses what it holds
		clear(e.slots)
		e.head, e.used = 0, 0
	}
	e.mu.Unlock()
	if e.reads && noReader {
		e.notifyWriters(wait.Out | wait.Err)
	}
	if e.writes && noWriter {
		e.notifyReaders(wait.In | wait.Hup)
	}
}

// device is st_dev of pipes: an anonymous device, as for Linux's pipefs.
const device = 13

// Stat implements file.File for pipes. A FIFO has the attributes of its inode.
func (e *End) Stat(st *linux.Stat) linux.Errno {
	*st = linux.Stat{
		Dev:     device,
		Ino:     e.ino,
		Nlink:   1,
		Mode:    linux.S_IFIFO | 0o600,
		Blksize: pageSize,
	}
	return 0
}

// Ioctl implements file.File.
func (e *End) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	if req != linux.FIONREAD {
		return 0, linux.ENOTTY
	}
	if arg < platform.PageSize {
		return 0, linux.EFAULT
	}
	*(*int32)(platform.Pointer(arg)) = int32(e.buffered())
	return 0, 0
}
