//go:build pith

package runtime

import (
	"testing"
	"unsafe"
)

const simVector = vectorDevice + 5

// epollWait waits for events, for ms milliseconds, and returns how many came.
func (p *program) epollWait(events []epollEvent, ms int) uintptr {
	return p.call(nrEpollPwait, vmFDEpoll, at(p, unsafe.SliceData(events)), uintptr(len(events)), uintptr(ms))
}

// epollAdd adds descriptor fd to the poller, with itself as its data.
func (p *program) epollAdd(fd byte, of uintptr) uintptr {
	return p.call(nrEpollCtl, vmFDEpoll, 1, of, at(p, &epollEvent{events: 1, data: [8]byte{fd}}))
}

func (p *program) eventfd(num uintptr, v *uint64) uintptr {
	return p.call(num, vmFDWake, at(p, v), 8)
}

// The eventfd is ready as long as it is not read.
func TestEventfd(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var events [4]epollEvent
			want(s, "epoll_create1", p.call(nrEpollCreate1), vmFDEpoll)
			want(s, "eventfd2", p.call(nrEventfd2), vmFDWake)
			want(s, "epoll_ctl", p.epollAdd(1, vmFDWake), 0)
			want(s, "epoll_ctl of a file", p.epollAdd(1, 17), errno(_EBADF))
			want(s, "events at first", p.epollWait(events[:], 0), 0)
			v := uint64(2)
			want(s, "read", p.eventfd(nrRead, &v), errno(_EAGAIN))
			for range 2 {
				want(s, "write", p.eventfd(nrWrite, &v), 8)
			}
			for range 2 {
				want(s, "events", p.epollWait(events[:], -1), 1)
				want(s, "data", events[0].data[0], 1)
			}
			want(s, "read", p.eventfd(nrRead, &v), 8)
			want(s, "value", v, 4)
			want(s, "events after the read", p.epollWait(events[:], 0), 0)
		})
	})
}

// A thread that waits is woken by a write on another vCPU.
func TestEventfdWakesThePoller(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var events [4]epollEvent
			p.epollAdd(1, vmFDWake)
			woken := 0
			poller := p.clone(func(p *program) {
				for range 5 {
					want(s, "events", p.epollWait(events[:], -1), 1)
					v := uint64(0)
					p.eventfd(nrRead, &v)
					woken++
				}
			})
			for n := range 5 {
				p.await(poller, vmPollWait)
				v := uint64(1)
				p.eventfd(nrWrite, &v)
				p.spin(func() bool { return woken == n+1 })
			}
		})
	})
}

// An interrupt is told once each time that it comes, to an idle vCPU's poller too.
func TestInterruptIsAnEdge(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var events [4]epollEvent
			s.interrupt(simVector) // before anybody asks for it
			p.step()
			want(s, "epoll_ctl", p.epollAdd(7, vmFDIRQ+simVector), 0)
			want(s, "events", p.epollWait(events[:], -1), 1)
			want(s, "data", events[0].data[0], 7)
			want(s, "events again", p.epollWait(events[:], 0), 0)
			told := 0
			poller := p.clone(func(p *program) {
				for range 5 {
					want(s, "events", p.epollWait(events[:], 60_000), 1)
					told++
				}
				want(s, "events at the end", p.epollWait(events[:], 3), 0)
				told++
			})
			for n := range 5 {
				p.await(poller, vmPollWait)
				s.interrupt(simVector)
				s.interrupt(simVector)
				p.sleep(1_000_000)
				want(s, "edges told", told, n+1)
			}
			p.spin(func() bool { return told == 6 })
			p.call(nrEpollCtl, vmFDEpoll, 2, vmFDIRQ+simVector, 0)
			s.interrupt(simVector)
			want(s, "events of a source that was removed", p.epollWait(events[:], 1), 0)
			p.call(platformFire, simVector+1)
			p.epollAdd(8, vmFDIRQ+simVector+1)
			want(s, "events of platformFire", p.epollWait(events[:], 1), 1)
		})
	})
}

func TestEpollTimeoutAndLimit(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var events [8]epollEvent
			from := s.now()
			want(s, "events", p.epollWait(events[:], 20), 0)
			if took := s.now() - from; took < 20_000_000 || took > 25_000_000 {
				t.Errorf("a wait of 20 ms took %d ns", took)
			}
			for i := range uintptr(5) {
				p.epollAdd(byte(i), vmFDIRQ+vectorDevice+i)
				s.interrupt(vectorDevice + i)
			}
			seen := 0
			for _, most := range []int{2, 2, 2} {
				n := int(p.epollWait(events[:most], 0))
				for _, e := range events[:n] {
					seen |= 1 << e.data[0]
				}
			}
			want(s, "sources seen", seen, 31)
		})
	})
}
