package file

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

type testFile struct {
	Base
	q        wait.Queue
	ready    wait.Events
	released int
}

func (f *testFile) Watch() *wait.Queue { return &f.q }
func (f *testFile) Ready() wait.Events { return f.ready }
func (f *testFile) Release()           { f.released++ }

func (*testFile) Stat(*linux.Stat) linux.Errno { return 0 }

func TestDescriptorsAreTheLowestFree(t *testing.T) {
	var tab Table
	f := &testFile{}
	for want := range 100 {
		if fd, errno := tab.Install(f, 0, false); fd != want || errno != 0 {
			t.Fatalf("got %d, %v, want %d", fd, errno, want)
		}
	}
	tab.Close(70)
	tab.Close(7)
	for _, want := range []int{7, 70, 100} {
		if fd, _ := tab.Install(f, 0, false); fd != want {
			t.Errorf("got %d, want %d", fd, want)
		}
	}
	if fd, _ := tab.Install(f, 500, false); fd != 500 {
		t.Errorf("at least 500: got %d", fd)
	}
	if _, errno := tab.Install(f, MaxDescriptors, false); errno != linux.EMFILE {
		t.Errorf("beyond the limit: %v", errno.Name())
	}
}

func TestAFileIsReleasedWithItsLastDescriptor(t *testing.T) {
	var tab Table
	f := &testFile{}
	fd, _ := tab.Install(f, 0, false)
	dup, _ := tab.Dup(fd, 0, true)
	if on, _ := tab.CloseOnExec(dup); !on {
		t.Error("close-on-exec is not set")
	}
	if errno := tab.DupTo(fd, 10, false); errno != 0 {
		t.Fatal(errno.Name())
	}
	tab.Close(fd)
	tab.Close(dup)
	if f.released != 0 {
		t.Fatal("released while a descriptor is open")
	}
	other := &testFile{}
	o, _ := tab.Install(other, 0, false)
	if errno := tab.DupTo(o, 10, false); errno != 0 || f.released != 1 {
		t.Errorf("%v, released %d times", errno.Name(), f.released)
	}
	if errno := tab.Close(dup); errno != linux.EBADF {
		t.Errorf("closing twice: %v", errno.Name())
	}
}

func TestThePollerHearsTheLevelAtOpenAndThenEdges(t *testing.T) {
	var heard []platform.Mode
	platform.HostedPollReady = func(pd uintptr, m platform.Mode) { heard = append(heard, m) }
	defer func() { platform.HostedPollReady = func(uintptr, platform.Mode) {} }()
	var tab Table
	f := &testFile{ready: wait.Out}
	fd, _ := tab.Install(f, 0, false)
	if errno := tab.PollOpen(fd, 1); errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := tab.PollOpen(fd, 2); errno != linux.EEXIST {
		t.Errorf("opened twice: %v", errno.Name())
	}
	f.q.Notify(wait.In)
	f.q.Notify(wait.Hup)
	tab.Close(fd)
	f.q.Notify(wait.In)
	want := []platform.Mode{platform.Writable, platform.Readable, platform.Readable | platform.Writable}
	if len(heard) != len(want) {
		t.Fatalf("got %v, want %v", heard, want)
	}
	for i := range want {
		if heard[i] != want[i] {
			t.Errorf("event %d: got %v, want %v", i, heard[i], want[i])
		}
	}
}
