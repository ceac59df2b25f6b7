package event_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/event"

	"golang.org/x/sys/unix"
)

func newEvent(t testing.TB) *event.Event {
	t.Helper()
	e, err := event.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestNoSignalIsLost(t *testing.T) {
	ping, pong := newEvent(t), newEvent(t)
	var other sync.WaitGroup
	other.Go(func() {
		for ping.Wait() {
			pong.Signal()
		}
	})
	for range 1000 {
		ping.Signal()
		if !pong.Wait() {
			t.Fatal("Wait reports that the event is stopped")
		}
	}
	ping.Close()
	other.Wait()
}

func TestSignalsAddUp(t *testing.T) {
	e := newEvent(t)
	for range 3 {
		e.Signal()
	}
	if !e.Wait() {
		t.Fatal("Wait reports that the event is stopped")
	}
	var count [8]byte
	if _, err := unix.Read(e.FD(), count[:]); err != unix.EAGAIN {
		t.Errorf("a signal is left: %v", err)
	}
}

func TestStopEndsAllWaitsUntilResume(t *testing.T) {
	e := newEvent(t)
	for range 100 {
		done := make(chan bool)
		go func() { done <- e.Wait() }()
		e.Stop()
		if <-done {
			t.Fatal("a Wait that was stopped reports a signal")
		}
		for range 2 {
			e.Signal()
			if e.Wait() || !e.Stopped() {
				t.Fatal("a Wait after Stop reports a signal")
			}
		}
		e.Resume()
		var count [8]byte
		if _, err := unix.Read(e.FD(), count[:]); err != unix.EAGAIN || e.Stopped() {
			t.Fatalf("a signal outlasts Resume: %v", err)
		}
		e.Signal()
		if !e.Wait() {
			t.Fatal("no signal arrives after Resume")
		}
	}
}

func TestCloseEndsAll(t *testing.T) {
	e := newEvent(t)
	done := make(chan bool)
	go func() { done <- e.Wait() }()
	e.Close()
	if <-done || e.Wait() {
		t.Error("a closed event reports a signal")
	}
	e.Signal()
	e.Stop()
	e.Resume()
	e.Close()
}

func TestNilEventDoesNothing(*testing.T) {
	var e *event.Event
	e.Signal()
	e.Close()
}

func TestSignalThroughAnotherDescriptor(t *testing.T) {
	ours := newEvent(t)
	fd, err := unix.FcntlInt(uintptr(ours.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := event.From(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	theirs.Signal()
	if !ours.Wait() {
		t.Error("Wait reports that the event is closed")
	}
}

func TestFromRefusesOtherFiles(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := null.Close(); err != nil {
			t.Error(err)
		}
	}()
	fd, err := unix.Dup(int(null.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := event.From(fd); err == nil || !strings.Contains(err.Error(), "not an eventfd") {
		t.Errorf("/dev/null: %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		t.Errorf("the descriptor that From refused is still open: %v", err)
	}
	if _, err := event.From(-1); err == nil {
		t.Error("From accepts descriptor -1")
	}
}

func TestSignalsAndWaitsDoNotAllocate(t *testing.T) {
	e := newEvent(t)
	if n := testing.AllocsPerRun(1000, func() {
		e.Signal()
		e.Wait()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
