// Package wait announces that a file became ready. A file owns a queue of entries,
// and calls their functions at each change. The runtime's poller, epoll, poll, select
// and blocking calls register entries.
//
// Notifications are edges: each call of Notify means that something happened since
// the last one, as with EPOLLET. File.Ready returns the level.
package wait

import (
	"sync"
	"sync/atomic"
)

// Events is a set of readiness conditions, with the values of poll(2) and
// epoll(7).
type Events uint32

// Readiness conditions (include/uapi/linux/eventpoll.h).
const (
	In    Events = 0x1
	Pri   Events = 0x2
	Out   Events = 0x4
	Err   Events = 0x8
	Hup   Events = 0x10
	RdHup Events = 0x2000

	// Always are reported whether asked for or not.
	Always = Err | Hup
)

// Entry is one registration in a Queue. It belongs to one queue at a time.
type Entry struct {
	// Notify is called with the events that occurred. The queue's lock is held:
	// Notify must not block, and must not call the queue or the file.
	Notify func(Events)

	mask       Events
	next, prev *Entry
}

// Queue is a set of entries. The zero value is empty and ready for use. A queue must
// not be copied.
type Queue struct {
	n    atomic.Int32 // number of entries: Notify of an empty queue takes no lock
	mu   sync.Mutex
	head *Entry
	// Changed, if not nil, is called after the first entry is registered (true)
	// and after the last one is unregistered (false). The queue's lock is held.
	Changed func(watched bool)
}

// Register adds e for the events in mask, and for Always.
func (q *Queue) Register(e *Entry, mask Events) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.mask = mask | Always
	e.prev, e.next = nil, q.head
	if q.head != nil {
		q.head.prev = e
	}
	q.head = e
	if q.n.Add(1) == 1 && q.Changed != nil {
		q.Changed(true)
	}
}

// Unregister removes e. When it returns, e.Notify is not running and will not be
// called again.
func (q *Queue) Unregister(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	}
	e.prev, e.next = nil, nil
	if q.n.Add(-1) == 0 && q.Changed != nil {
		q.Changed(false)
	}
}

// Notify calls every entry that asked for one of ev.
func (q *Queue) Notify(ev Events) {
	if q.n.Load() == 0 {
		return
	}
	q.mu.Lock()
	for e := q.head; e != nil; e = e.next {
		if m := e.mask & ev; m != 0 {
			e.Notify(m)
		}
	}
	q.mu.Unlock()
}
