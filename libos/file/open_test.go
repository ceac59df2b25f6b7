package file_test

import (
	"testing"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// note is a file that records its release.
type note struct {
	file.Base
	log *[]string
}

func (n *note) Stat(*linux.Stat) linux.Errno { return 0 }
func (n *note) Release()                     { *n.log = append(*n.log, "release") }

func newNote(t *testing.T, files *file.Table) (fd int, log *[]string) {
	t.Helper()
	log = new([]string)
	fd, errno := files.Install(&note{log: log}, 0, false)
	if errno != 0 {
		t.Fatal(errno)
	}
	return fd, log
}

func TestTheLastReferenceReleasesAFile(t *testing.T) {
	var files file.Table
	fd, log := newNote(t, &files)
	dup, _ := files.Dup(fd, 0, false)
	held := files.Hold(fd)
	files.Close(fd)
	files.Close(dup)
	if len(*log) != 0 {
		t.Fatal("released while held")
	}
	again, errno := files.InstallOpen(held, 7, true)
	if errno != 0 || again != 7 {
		t.Fatal(again, errno)
	}
	held.Drop()
	if len(*log) != 0 {
		t.Fatal("released with a descriptor")
	}
	files.Close(again)
	if len(*log) != 1 {
		t.Fatalf("released %d times", len(*log))
	}
}

func TestHooksRunBeforeTheReleaseUnlessCancelled(t *testing.T) {
	var files file.Table
	fd, log := newNote(t, &files)
	o := files.Hold(fd)
	o.OnRelease(1, func() { *log = append(*log, "hook") })
	o.OnRelease(2, func() { *log = append(*log, "cancelled") })
	o.CancelRelease(2)
	o.Drop()
	files.Close(fd)
	if len(*log) != 2 || (*log)[0] != "hook" || (*log)[1] != "release" {
		t.Errorf("%q", *log)
	}
}

func TestHoldOfAClosedDescriptorIsNil(t *testing.T) {
	var files file.Table
	fd, _ := newNote(t, &files)
	files.Close(fd)
	if files.Hold(fd) != nil || files.Hold(-1) != nil {
		t.Error("held")
	}
}
