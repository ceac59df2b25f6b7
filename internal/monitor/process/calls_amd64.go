package process

import (
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/jail/seccomp"

	"golang.org/x/sys/unix"
)

const archSetFS = 0x1002 // ARCH_SET_FS, asm/prctl.h

// firstThread is the call that sets the first thread's thread pointer.
var firstThread = jail.Permit(unix.SYS_ARCH_PRCTL, "arch_prctl", "the first thread's thread-local storage",
	jail.Where("op is ARCH_SET_FS", seccomp.In(0, seccomp.One(archSetFS))))
