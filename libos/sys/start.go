package sys

import (
	"github.com/pith-os/pith/libos/console"
	"github.com/pith-os/pith/libos/platform"
)

// What every program finds when it starts. The packages below are initialised
// by now; the program's are not.
func init() {
	for fd := range 3 {
		if got, errno := Files.Install(console.Standard(fd), fd, false); errno != 0 || got != fd {
			panic("pith: standard descriptors are in use")
		}
	}
	if platform.Config().Trace {
		startTrace()
	}
}
