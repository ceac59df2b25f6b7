package epoll

import "sync"

// readyList has the items whose files had an edge, first in, first out. Its lock is the
// innermost: no function is called while it is held.
type readyList struct {
	mu         sync.Mutex
	first, end *item
	n          int
}

// push appends it, unless it is on the list already.
func (l *readyList) push(it *item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if it.queued {
		return
	}
	it.queued = true
	it.prev = l.end
	if l.end == nil {
		l.first = it
	} else {
		l.end.next = it
	}
	l.end = it
	l.n++
}

// pop removes and returns the first item, or nil.
func (l *readyList) pop() *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.first
	if it != nil {
		l.unlink(it)
	}
	return it
}

// remove takes it off the list, if it is on it.
func (l *readyList) remove(it *item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if it.queued {
		l.unlink(it)
	}
}

func (l *readyList) unlink(it *item) {
	if it.prev == nil {
		l.first = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		l.end = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.prev, it.next, it.queued = nil, nil, false
	l.n--
}

func (l *readyList) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
