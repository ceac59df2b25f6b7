package sys

import (
	"github.com/pith-os/pith/libos/console"
	_ "github.com/pith-os/pith/libos/dev" // /dev
	"github.com/pith-os/pith/libos/folders"
	"github.com/pith-os/pith/libos/machine"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/proc"
)

// What every program finds when it starts. The packages below are initialised
// by now; the program's are not. The tree of files is built when it is first
// used, from what the packages of its parts have announced.
func init() {
	machine.Start()
	folders.Start()
	proc.Files = &Files
	proc.Register("sys/kernel/hostname", func() []byte { return []byte(Hostname() + "\n") })
	for fd := range 3 {
		if got, errno := Files.Install(console.Standard(fd), fd, false); errno != 0 || got != fd {
			panic("pith: standard descriptors are in use")
		}
	}
	if platform.Config().Trace {
		startTrace()
	}
}
