package negative

import (
	"github.com/pith-os/pith/internal/monitor/tinyelf"

	"golang.org/x/sys/unix"
)

const (
	anonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	readWrite = unix.PROT_READ | unix.PROT_WRITE
	page      = 4096
)

// ret is the machine code of RET.
var ret = []byte{0xc3}

// mmap maps fresh memory and leaves its address in R15.
func mmap(p *program, size uint64) {
	p.Syscall(unix.SYS_MMAP, imm(0), imm(size), imm(readWrite), imm(anonymous), imm(^uint64(0)), imm(0))
	p.Move(tinyelf.R15, tinyelf.RAX)
}

// memory are accesses to memory.
var memory = []Attempt{
	{"write to text", func(p *program) { p.Store(imm(tinyelf.TextAddr), imm(0)) }, Fault},
	{"execute data", func(p *program) { p.Call(p.Data(ret)) }, Fault},
	{"execute the heap", func(p *program) {
		mmap(p, page)
		p.Store(tinyelf.R15, imm(uint64(ret[0])))
		p.Call(tinyelf.R15)
	}, Fault},
	{"execute the stack", func(p *program) {
		p.Store(tinyelf.RSP, imm(uint64(ret[0])))
		p.Call(tinyelf.RSP)
	}, Fault},
	{"execute text that was writable meanwhile", func(p *program) {
		p.Syscall(unix.SYS_MPROTECT, imm(tinyelf.TextAddr), imm(page), imm(readWrite))
	}, Fault},
	{"read page zero", func(p *program) { p.Load(imm(8)) }, Fault},
	{"write page zero", func(p *program) { p.Store(imm(8), imm(1)) }, Fault},
	{"execute page zero", func(p *program) { p.Call(imm(0)) }, Fault},
	{"map page zero", func(p *program) {
		p.Syscall(unix.SYS_MMAP, imm(0), imm(page), imm(readWrite), imm(anonymous|unix.MAP_FIXED), imm(^uint64(0)), imm(0))
		p.Load(imm(8))
	}, Fault},
	{"run past the first stack", func(p *program) { pushForever(p) }, Fault},
	{"run past a thread's stack", func(p *program) {
		mmap(p, 4*page)
		p.Syscall(unix.SYS_MPROTECT, tinyelf.R15, imm(page), imm(unix.PROT_NONE))
		p.Raw(0x49, 0x81, 0xc7, 0, 4*page>>8, 0, 0) // ADD R15, 4*page
		p.Syscall(unix.SYS_CLONE, imm(threadFlags), tinyelf.R15, imm(0), imm(0), imm(0))
		p.IfZero(func() { pushForever(p) })
		p.Forever(func() { p.Syscall(unix.SYS_SCHED_YIELD) })
	}, Fault},
}

func pushForever(p *program) { p.Forever(func() { p.Raw(0x50) }) } // PUSH RAX

// resources are attempts to take more than an instance may have.
var resources = []Attempt{
	{"more memory than there is", func(p *program) {
		mmap(p, 1<<40)
		p.ExitErrno()
	}, NoMemory},
	{"more memory, little by little", func(p *program) {
		untilError(p, func() { mmap(p, 1<<20) })
	}, NoMemory},
	{"more threads than there may be", func(p *program) {
		p.Move(tinyelf.R14, tinyelf.RSP)
		untilError(p, func() {
			p.Syscall(unix.SYS_CLONE, imm(threadFlags), tinyelf.R14, imm(0), imm(0), imm(0))
			p.IfZero(func() { // a thread waits for ever, and touches no stack
				p.Forever(func() { p.Syscall(unix.SYS_FUTEX, imm(tinyelf.DataAddr), imm(128), imm(0), imm(0)) })
			})
		})
	}, NoThread},
}

// untilError repeats a call until it fails, and exits with its error.
func untilError(p *program, call func()) {
	p.Until(func() {
		call()
		p.Move(tinyelf.R15, tinyelf.RAX)
		p.Raw(0x48, 0xc1, 0xf8, 0x3f) // SAR RAX, 63: -1 for an error
		p.Raw(0x48, 0xff, 0xc0)       // INC RAX
	})
	p.Move(tinyelf.RAX, tinyelf.R15)
	p.ExitErrno()
}
