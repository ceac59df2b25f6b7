package sys

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/sys/clock"
	"github.com/pith-os/pith/libos/sys/files"
	"github.com/pith-os/pith/libos/sys/memory"
	"github.com/pith-os/pith/libos/sys/polling"
	"github.com/pith-os/pith/libos/sys/process"
	"github.com/pith-os/pith/libos/sys/sockets"
)

// The table has two parts, so that an image holds only what its program can
// reach.
//
// The calls that package syscall's own functions make for os, time and their like
// are in the table from the start: Common of each subject. All others need a
// program that makes sockets, maps memory or names system calls itself: Rest of
// each subject. Such a program uses a function of package syscall that calls
// Everything first. Without those functions the linker leaves out the lists of
// the rest, and all that only they refer to.

func registerCommon() {
	register(files.Common, clock.Common, process.Common)
}

func registerRest() {
	sockets.Start()
	register(files.Rest, sockets.Rest, memory.Rest, clock.Rest, process.Rest, polling.Rest)
	everything.done.Store(true)
}

var everything struct {
	once sync.Once
	done atomic.Bool
}

// Everything completes the table.
func Everything() {
	if !everything.done.Load() {
		everything.once.Do(registerRest)
	}
}
