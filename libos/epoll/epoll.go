// Package epoll is epoll(7): a file that reports which of many files are ready. It
// stands on package wait. An edge of a watched file puts the file's item on the ready
// list. Wait asks the files on that list for their level. The runtime's own poller
// does not use this package (see package file).
package epoll

import (
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// Poll is an epoll instance.
type Poll struct {
	file.Base
	queue wait.Queue

	// mu guards items and their fields. It is taken before the locks of watched
	// files; for nested instances, from the outside in. Notify never takes it.
	mu    sync.Mutex
	items map[key]*item

	ready readyList
}

// key identifies an item by descriptor and open file, as on Linux: a file stays
// watched when only its descriptor is closed.
type key struct {
	open *file.Open
	fd   int
}

// item is a watched file.
type item struct {
	key
	entry wait.Entry
	// interest has the events asked for; 0 after EPOLLONESHOT fired.
	interest wait.Events
	flags    uint32 // EPOLLET and others
	data     [2]uint32

	// Links of the ready list.
	queued     bool
	prev, next *item
}

// flags are the bits of epoll_event.events that are not events.
const flags = linux.EPOLLEXCLUSIVE | linux.EPOLLWAKEUP | linux.EPOLLONESHOT | linux.EPOLLET

// exclusiveOK are the bits that EPOLLEXCLUSIVE may come with (epoll_ctl(2)).
const exclusiveOK = uint32(wait.In|wait.Out|wait.Err|wait.Hup) |
	linux.EPOLLWAKEUP | linux.EPOLLET | linux.EPOLLEXCLUSIVE

// maxNesting is how many levels of instances may contain each other.
const maxNesting = 5

// nesting is held while an instance is added to another: two such calls at a time
// could make a cycle.
var nesting sync.Mutex

// New is epoll_create1(2).
func New() *Poll {
	p := &Poll{items: make(map[key]*item)}
	p.Init(linux.O_RDWR)
	return p
}

// Control is epoll_ctl(2) for descriptor fd of open file o. The caller holds a
// reference to o.
func (p *Poll) Control(op int, fd int, o *file.Open, ev *linux.EpollEvent) linux.Errno {
	if o.Watch() == nil {
		return linux.EPERM
	}
	inner, nested := o.File.(*Poll)
	if inner == p {
		return linux.EINVAL
	}
	if op != linux.EPOLL_CTL_DEL && ev.Events&linux.EPOLLEXCLUSIVE != 0 {
		if op == linux.EPOLL_CTL_MOD || nested || ev.Events&^exclusiveOK != 0 {
			return linux.EINVAL
		}
	}
	k := key{o, fd}
	switch op {
	case linux.EPOLL_CTL_ADD:
		if nested {
			nesting.Lock()
			defer nesting.Unlock()
			if inner.depth(p) > maxNesting-1 {
				return linux.ELOOP
			}
		}
		return p.add(k, ev)
	case linux.EPOLL_CTL_MOD:
		return p.modify(k, ev)
	case linux.EPOLL_CTL_DEL:
		return p.remove(k)
	}
	return linux.EINVAL
}

func (p *Poll) add(k key, ev *linux.EpollEvent) linux.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.items[k] != nil {
		return linux.EEXIST
	}
	it := &item{key: k}
	it.entry.Notify = func(wait.Events) { p.wake(it) }
	p.items[k] = it
	k.open.OnRelease(it, func() { p.remove(k) })
	p.watch(it, ev)
	return 0
}

func (p *Poll) modify(k key, ev *linux.EpollEvent) linux.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.items[k]
	if it == nil {
		return linux.ENOENT
	}
	if it.flags&linux.EPOLLEXCLUSIVE != 0 {
		return linux.EINVAL
	}
	k.open.Watch().Unregister(&it.entry)
	p.watch(it, ev)
	return 0
}

// watch registers an item, and puts it on the ready list if it is ready.
func (p *Poll) watch(it *item, ev *linux.EpollEvent) {
	it.interest = wait.Events(ev.Events&^flags) | wait.Always
	it.flags = ev.Events & flags
	it.data = ev.Data
	it.open.Watch().Register(&it.entry, it.interest)
	if it.open.Ready()&it.interest != 0 {
		p.wake(it)
	}
}

func (p *Poll) remove(k key) linux.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	it := p.items[k]
	if it == nil {
		return linux.ENOENT
	}
	p.drop(it)
	return 0
}

func (p *Poll) drop(it *item) {
	delete(p.items, it.key)
	it.open.CancelRelease(it)
	it.open.Watch().Unregister(&it.entry)
	p.ready.remove(it)
}

// wake puts an item on the ready list and wakes those that wait for p. The lock of the
// watched file's queue is held.
func (p *Poll) wake(it *item) {
	p.ready.push(it)
	p.queue.Notify(wait.In)
}

// Wait fills events with the ready files and returns how many; EAGAIN if none.
func (p *Poll) Wait(events []linux.EpollEvent) (int, linux.Errno) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	// Items that stay ready go back to the end of the list. Look at each once.
	for range p.ready.len() {
		if n == len(events) {
			break
		}
		it := p.ready.pop()
		if it == nil {
			break
		}
		ev := it.level()
		if ev == 0 {
			continue
		}
		events[n] = linux.EpollEvent{Events: uint32(ev), Data: it.data}
		n++
		switch {
		case it.flags&linux.EPOLLONESHOT != 0:
			it.interest = 0
		case it.flags&linux.EPOLLET == 0:
			p.ready.push(it)
		}
	}
	if n == 0 {
		return 0, linux.EAGAIN
	}
	return n, 0
}

// level returns the events that a watched file is ready for now.
func (it *item) level() wait.Events {
	if it.interest == 0 {
		return 0
	}
	return it.open.Ready() & it.interest
}

// Ready implements file.File: an instance is readable if Wait would return events.
// It removes items that are no longer ready from the list.
func (p *Poll) Ready() wait.Events {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.ready.len() {
		it := p.ready.pop()
		if it == nil {
			break
		}
		if it.level() != 0 {
			p.ready.push(it)
			return wait.In
		}
	}
	return 0
}

// Watch implements file.File.
func (p *Poll) Watch() *wait.Queue { return &p.queue }

// Release implements file.File.
func (p *Poll) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.items {
		p.drop(it)
	}
}

// Stat implements file.File.
func (p *Poll) Stat(st *linux.Stat) linux.Errno { return file.StatAnonymous(st) }

// depth returns how many levels of instances p contains, with p itself. If outer is
// among them, it is at least maxNesting.
func (p *Poll) depth(outer *Poll) int {
	if p == outer {
		return maxNesting
	}
	p.mu.Lock()
	var inside []*Poll
	for k := range p.items {
		if q, ok := k.open.File.(*Poll); ok {
			inside = append(inside, q)
		}
	}
	p.mu.Unlock()
	deepest := 0
	for _, q := range inside {
		deepest = max(deepest, q.depth(outer))
	}
	return deepest + 1
}
