// Package console has the standard input, output and error of the instance: files over
// the platform's console. Package sys opens them as descriptors 0, 1 and 2. Package dev
// opens them as /dev/console and /dev/tty.
package console

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// File is an open file of the console. All of them share one input.
type File struct {
	file.Base
	out int  // the platform's descriptor for output: 1 or 2; 0: none
	tty bool // a terminal; else it looks like a pipe
	// input means that the file was opened for its input: Ready begins to read.
	// A terminal on standard output is open for reading too, but must not take
	// what is typed before a goroutine reads.
	input bool
}

// Standard opens descriptor fd: 0, 1 or 2. On a terminal all three can be read and
// written, as after a login.
func Standard(fd int) *File {
	f := &File{out: fd, tty: platform.Config().TTY[fd], input: fd == 0}
	flags := uint32(linux.O_WRONLY)
	switch {
	case f.tty:
		flags, f.out = linux.O_RDWR, max(fd, 1)
	case fd == 0:
		flags = linux.O_RDONLY
	}
	f.Init(flags)
	return f
}

// Open opens /dev/console: standard input and output in one.
func Open(flags uint32) *File {
	tty := platform.Config().TTY
	f := &File{out: 1, tty: tty[0] || tty[1] || tty[2], input: flags&linux.O_ACCMODE != linux.O_WRONLY}
	f.Init(flags)
	return f
}

// OpenTerminal opens /dev/tty, the controlling terminal; ENXIO without one.
func OpenTerminal(flags uint32) (*File, linux.Errno) {
	f := Open(flags)
	if !f.tty {
		return nil, linux.ENXIO
	}
	return f, 0
}

// Reopen opens the file again, as open(2) of its /proc/self/fd entry does.
func (f *File) Reopen(flags uint32) (file.File, linux.Errno) {
	mode := flags & linux.O_ACCMODE
	if !f.tty && mode != f.Flags()&linux.O_ACCMODE {
		return nil, linux.EACCES
	}
	g := &File{out: f.out, tty: f.tty, input: mode != linux.O_WRONLY}
	g.Init(flags)
	return g, 0
}

// Name returns what /proc/self/fd shows.
func (f *File) Name() string {
	if f.tty {
		return "/dev/console"
	}
	return "pipe:[" + string('1'+rune(f.out)) + "]"
}

// Read implements file.File.
func (f *File) Read(p []byte) (int, linux.Errno) {
	if f.Flags()&linux.O_ACCMODE == linux.O_WRONLY {
		return 0, linux.EBADF
	}
	return stdin.read(p)
}

// Write implements file.File. It writes all of p. The platform parks the goroutine while
// the reader is slow, so the output needs no queue.
func (f *File) Write(p []byte) (int, linux.Errno) {
	if f.Flags()&linux.O_ACCMODE == linux.O_RDONLY {
		return 0, linux.EBADF
	}
	done := 0
	for done < len(p) {
		n, errno := platform.ConsoleWrite(f.out, p[done:])
		done += n
		if errno != 0 && !again(errno) {
			if done > 0 {
				break
			}
			return 0, errno
		}
	}
	return done, 0
}

// Stat implements file.File.
func (f *File) Stat(st *linux.Stat) linux.Errno {
	*st = linux.Stat{Dev: 1, Ino: uint64(f.out) + 1, Nlink: 1, Mode: linux.S_IFIFO | 0o600, Blksize: platform.PageSize}
	if f.tty {
		st.Mode, st.Rdev, st.Blksize = linux.S_IFCHR|0o620, Rdev, 1024
	}
	return 0
}

// Rdev is the device number of /dev/console.
const Rdev = 5<<8 | 1

// Ready implements file.File.
func (f *File) Ready() wait.Events {
	var ev wait.Events
	mode := f.Flags() & linux.O_ACCMODE
	if mode != linux.O_RDONLY {
		ev = wait.Out
	}
	if mode != linux.O_WRONLY {
		ev |= stdin.ready(f.input)
	}
	return ev
}

// Watch implements file.File.
func (f *File) Watch() *wait.Queue { return &stdin.queue }
