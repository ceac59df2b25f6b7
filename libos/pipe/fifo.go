package pipe

import (
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

func init() { vfs.OpenFIFO = openFIFO }

// fifos has the pipes of the open FIFOs.
var fifos = struct {
	sync.Mutex
	open map[vfs.Inode]*fifoPipe
}{open: make(map[vfs.Inode]*fifoPipe)}

type fifoPipe struct {
	*Pipe
	ends int
}

// fifo is an open FIFO: an end of its pipe, and a name in the tree of files.
type fifo struct {
	*End
	dentry *vfs.Dentry
}

// openFIFO opens the FIFO d (fifo(7)). open(2) then waits until it is Connected.
func openFIFO(d *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
	fifos.Lock()
	defer fifos.Unlock()
	p := fifos.open[d.Inode()]
	if p == nil {
		p = &fifoPipe{Pipe: New()}
	}
	e, errno := p.openEnd(flags)
	if errno != 0 {
		return nil, errno
	}
	p.ends++
	fifos.open[d.Inode()] = p
	return &fifo{End: e, dentry: d}, 0
}

// openEnd opens an end. A non-blocking end for writing needs a reader: ENXIO.
func (p *Pipe) openEnd(flags uint32) (*End, linux.Errno) {
	p.mu.Lock()
	noReader := p.readers == 0
	p.mu.Unlock()
	switch mode := flags & linux.O_ACCMODE; {
	case mode == linux.O_ACCMODE: // neither
		return nil, linux.EINVAL
	case mode == linux.O_WRONLY && flags&linux.O_NONBLOCK != 0 && noReader:
		return nil, linux.ENXIO
	}
	return p.open(flags), 0
}

// Connected implements vfs.Connecter. An open for reading or writing alone waits for
// an open of the other side. The other side may be closed again when Connected looks.
func (f *fifo) Connected() linux.Errno {
	if f.Flags()&linux.O_NONBLOCK != 0 {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if (f.readers > 0 || f.Pipe.readerOpens != f.readerOpens) &&
		(f.writers > 0 || f.Pipe.writerOpens != f.writerOpens) {
		return 0
	}
	return linux.EAGAIN
}

// Dentry implements vfs.Opened.
func (f *fifo) Dentry() *vfs.Dentry { return f.dentry }

// Stat implements file.File.
func (f *fifo) Stat(st *linux.Stat) linux.Errno {
	f.dentry.Inode().Stat(st)
	return 0
}

// Release implements file.File.
func (f *fifo) Release() {
	f.End.Release()
	fifos.Lock()
	defer fifos.Unlock()
	inode := f.dentry.Inode()
	if p := fifos.open[inode]; p != nil && p.Pipe == f.Pipe {
		if p.ends--; p.ends == 0 {
			delete(fifos.open, inode)
		}
	}
}

// Reopen opens the pipe again, as open(2) of its /proc/self/fd entry does.
func (e *End) Reopen(flags uint32) (file.File, linux.Errno) {
	again, errno := e.openEnd(flags)
	if errno != 0 {
		return nil, errno
	}
	return again, 0
}
