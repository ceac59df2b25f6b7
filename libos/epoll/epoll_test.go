package epoll_test

import (
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/epoll"
	"github.com/pith-os/pith/libos/event"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

func open(t *testing.T, files *file.Table, f file.File) int {
	t.Helper()
	fd, errno := files.Install(f, 0, false)
	if errno != 0 {
		t.Fatal(errno)
	}
	return fd
}

func control(t *testing.T, files *file.Table, p *epoll.Poll, op, fd int, events wait.Events) {
	t.Helper()
	o := files.Hold(fd)
	defer o.Drop()
	ev := &linux.EpollEvent{Events: uint32(events), Data: [2]uint32{uint32(fd)}}
	if errno := p.Control(op, fd, o, ev); errno != 0 {
		t.Fatal(errno)
	}
}

// While one goroutine waits for events, others add, modify, signal and close the files
// that it watches. There must be no deadlock, and no item after the last close.
func TestFilesComeAndGoWhileWatched(t *testing.T) {
	var files file.Table
	inner, outer := epoll.New(), epoll.New()
	innerFD, outerFD := open(t, &files, inner), open(t, &files, outer)
	control(t, &files, outer, linux.EPOLL_CTL_ADD, innerFD, wait.In)

	stop := make(chan struct{})
	var collectors, workers sync.WaitGroup
	for _, p := range []*epoll.Poll{inner, outer} {
		collectors.Go(func() {
			events := make([]linux.EpollEvent, 8)
			for {
				select {
				case <-stop:
					return
				default:
					p.Wait(events)
					p.Ready()
				}
			}
		})
	}
	for range 4 {
		workers.Go(func() {
			one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
			for range 300 {
				c := event.NewCounter(0, linux.EFD_NONBLOCK)
				fd := open(t, &files, c)
				control(t, &files, inner, linux.EPOLL_CTL_ADD, fd, wait.In)
				c.Write(one)
				control(t, &files, inner, linux.EPOLL_CTL_MOD, fd, wait.In|wait.Out|linux.EPOLLET)
				c.Write(one)
				files.Close(fd)
				c.Write(one) // another goroutine may still have the file
			}
		})
	}
	workers.Wait()
	close(stop)
	collectors.Wait()
	if n, errno := inner.Wait(make([]linux.EpollEvent, 8)); errno != linux.EAGAIN {
		t.Errorf("%d events left", n)
	}
	files.Close(innerFD)
	files.Close(outerFD)
}

// An edge between two waits is never lost.
func TestEveryEdgeIsSeen(t *testing.T) {
	var files file.Table
	p := epoll.New()
	defer p.Release()
	c := event.NewCounter(0, linux.EFD_NONBLOCK)
	control(t, &files, p, linux.EPOLL_CTL_ADD, open(t, &files, c), wait.In|linux.EPOLLET)
	const total = 20000
	go func() {
		for range total {
			c.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
	}()
	woken := make(chan struct{}, 1)
	e := wait.Entry{Notify: func(wait.Events) {
		select {
		case woken <- struct{}{}:
		default:
		}
	}}
	p.Watch().Register(&e, wait.In)
	defer p.Watch().Unregister(&e)
	events, buf := make([]linux.EpollEvent, 1), make([]byte, 8)
	for sum := 0; sum < total; {
		if _, errno := p.Wait(events); errno != 0 {
			<-woken
			continue
		}
		for {
			if _, errno := c.Read(buf); errno != 0 {
				break
			}
			sum += int(buf[0]) | int(buf[1])<<8
		}
	}
}
