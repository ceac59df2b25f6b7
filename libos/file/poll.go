package file

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// PollOpen attaches the runtime's pollDesc pd to fd: netpollopen of the contract in
// runtime/netpoll.go. The file's edges go to pd until PollClose, or until fd is closed.
func (t *Table) PollOpen(fd int, pd uintptr) linux.Errno {
	d := t.get(fd)
	if d == nil {
		return linux.EBADF
	}
	d.poll.mu.Lock()
	defer d.poll.mu.Unlock()
	if d.poll.pd != 0 {
		return linux.EEXIST
	}
	if p, ok := d.file.(Pollable); ok {
		if errno := p.PollOpen(pd); errno != 0 {
			return errno
		}
		d.poll.pd = pd
		return 0
	}
	q := d.file.Watch()
	if q == nil {
		return linux.EPERM
	}
	d.poll.pd = pd
	d.poll.entry.Notify = func(ev wait.Events) { platform.PollReady(pd, PollMode(ev)) }
	q.Register(&d.poll.entry, wait.In|wait.Out|wait.RdHup)
	// Report what is ready already, as epoll does.
	if ev := d.file.Ready(); ev != 0 {
		platform.PollReady(pd, PollMode(ev))
	}
	return 0
}

// PollClose is netpollclose: it detaches the pollDesc.
func (t *Table) PollClose(fd int) linux.Errno {
	d := t.get(fd)
	if d == nil {
		return linux.EBADF
	}
	if !d.detach() {
		return linux.ENOENT
	}
	return 0
}

func (d *descriptor) detach() bool {
	d.poll.mu.Lock()
	defer d.poll.mu.Unlock()
	pd := d.poll.pd
	if pd == 0 {
		return false
	}
	d.poll.pd = 0
	if p, ok := d.file.(Pollable); ok {
		p.PollClose(pd)
	} else {
		d.file.Watch().Unregister(&d.poll.entry)
	}
	return true
}

// PollMode converts events to the directions of the runtime's poller.
func PollMode(ev wait.Events) platform.Mode {
	var m platform.Mode
	if ev&(wait.In|wait.RdHup|wait.Hup|wait.Err) != 0 {
		m |= platform.Readable
	}
	if ev&(wait.Out|wait.Hup|wait.Err) != 0 {
		m |= platform.Writable
	}
	return m
}
