package negative

import (
	"github.com/pith-os/pith/internal/monitor/tinyelf"

	"golang.org/x/sys/unix"
)

// openCall opens a file by its path.
const openCall = unix.SYS_OPEN

// archCalls are the attempts that only this architecture has.
var archCalls = []Attempt{
	{"an i386 system call", func(p *program) {
		p.Move(tinyelf.RAX, imm(20)) // getpid
		p.Raw(0xcd, 0x80)            // INT 0x80
	}, Forbidden},
	syscall("an x32 system call", 0x40000000|unix.SYS_WRITE, 1, tinyelf.DataAddr, 1),
	{"open", func(p *program) { p.Syscall(openCall, p.CString("/etc/passwd"), imm(unix.O_RDONLY)) }, Forbidden},
	syscall("fork", unix.SYS_FORK),
	syscall("vfork", unix.SYS_VFORK),
	syscall("arch_prctl of another register", unix.SYS_ARCH_PRCTL, 0x1001, 0), // ARCH_SET_GS
}
