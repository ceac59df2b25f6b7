package sys

import (
	"github.com/pith-os/pith/libos/console"
	_ "github.com/pith-os/pith/libos/dev" // /dev
	"github.com/pith-os/pith/libos/folders"
	"github.com/pith-os/pith/libos/machine"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/proc"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/sys/process"
)

// init makes what every program finds when it starts. The packages below are
// initialised by now; those of the program are not. The tree of files is built at
// its first use, from what the packages of its parts have announced.
func init() {
	registerCommon()
	platform.SetPoller(call.Files.PollOpen, call.Files.PollClose)
	machine.Start()
	folders.Start()
	proc.Files = &call.Files
	proc.Register("sys/kernel/hostname", func() []byte { return []byte(process.Hostname() + "\n") })
	for fd := range 3 {
		if got, errno := call.Files.Install(console.Standard(fd), fd, false); errno != 0 || got != fd {
			panic("pith: standard descriptors are in use")
		}
	}
	if platform.Config().Trace {
		startTrace()
	}
}
