//go:build pith

package syscall

import (
	"pith/libos/platform"
	"pith/libos/sys"
	"pith/libos/sys/call"
	_ "unsafe" // for go:linkname
)

// Every system call of the program arrives here, on the calling goroutine, and
// goes on as a function call into the library OS. The exported functions
// replace those of the same names in syscall_linux.go. The package's own
// functions call pithCall and pithCall6 instead (edits.go), so that an image
// has all of the library OS's calls only where a program can name any.
//
// Go code converts its pointers in the call (unsafe rule 4):
// go:uintptrescapes moves what they point to off the stack and keeps it alive.
// Assembly (golang.org/x/sys/unix) cannot, so its pointers may lead into the
// caller's own stack: see pithStillCall in the runtime.

// pithStill is a system call for another goroutine to make; the runtime has the
// same type, and the last two fields.
type pithStill struct {
	call     func(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr)
	args     [7]uintptr
	r, e     uintptr
	gp, next uintptr
}

// pithStillCall has s made by another goroutine.
//
//go:linkname pithStillCall
//go:noescape
func pithStillCall(s *pithStill)

// pithElsewhere has another goroutine make a call.
//
//go:nosplit
func pithElsewhere(do func(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr), trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err Errno) {
	var s pithStill
	s.call = do
	s.args[0], s.args[1], s.args[2], s.args[3] = trap, a1, a2, a3
	s.args[4], s.args[5], s.args[6] = a4, a5, a6
	pithStillCall(&s)
	return pithResult(s.r, Errno(s.e))
}

// pithStillBasic and pithStillAny are what it calls.
func pithStillBasic(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr) {
	r, e := sys.Call(num, a1, a2, a3, a4, a5, a6)
	return r, uintptr(e)
}

func pithStillAny(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr) {
	sys.Everything()
	return pithStillBasic(num, a1, a2, a3, a4, a5, a6)
}

func init() {
	// Assembly of other packages is made to call it after linking, so it
	// must be in every image.
	pithKeep = rawSyscallNoError
}

var pithKeep func(trap, a1, a2, a3 uintptr) (r1, r2 uintptr)

// pithCall makes a call that is in the table from the start.
//
//go:uintptrescapes
//go:nosplit
//go:linkname pithCall
func pithCall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err Errno) {
	if pithApart(a1, a2, a3) {
		return pithElsewhere(pithStillBasic, trap, a1, a2, a3, 0, 0, 0)
	}
	r, e := sys.Lookup(trap)(call.NoEscape(&call.Args{A0: a1, A1: a2, A2: a3}))
	return pithResult(r, Errno(e))
}

// pithCall6 is pithCall with six arguments.
//
//go:uintptrescapes
//go:nosplit
//go:linkname pithCall6
func pithCall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err Errno) {
	if pithApart(a1, a2, a3) || pithApart(a4, a5, a6) {
		return pithElsewhere(pithStillBasic, trap, a1, a2, a3, a4, a5, a6)
	}
	r, e := sys.Lookup(trap)(call.NoEscape(&call.Args{A0: a1, A1: a2, A2: a3, A3: a4, A4: a5, A5: a6}))
	return pithResult(r, Errno(e))
}

// pithResult is how package syscall returns: r1 is all ones with an error.
//
//go:nosplit
func pithResult(r uintptr, e Errno) (r1, r2 uintptr, err Errno) {
	if e != 0 {
		r = ^uintptr(0)
	}
	return r, 0, e
}

//go:uintptrescapes
//go:nosplit
//go:linkname Syscall6
func Syscall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err Errno) {
	// Before the stack may grow.
	if pithApart(a1, a2, a3) || pithApart(a4, a5, a6) {
		return pithElsewhere(pithStillAny, trap, a1, a2, a3, a4, a5, a6)
	}
	sys.Everything()
	r, e := sys.Lookup(trap)(call.NoEscape(&call.Args{A0: a1, A1: a2, A2: a3, A3: a4, A4: a5, A5: a6}))
	return pithResult(r, Errno(e))
}

// No thread is held in a system call, so the raw ones are no different.

//go:uintptrescapes
//go:nosplit
//go:linkname Syscall
func Syscall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err Errno) {
	return Syscall6(trap, a1, a2, a3, 0, 0, 0)
}

//go:uintptrescapes
//go:nosplit
//go:linkname RawSyscall
func RawSyscall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err Errno) {
	return Syscall6(trap, a1, a2, a3, 0, 0, 0)
}

//go:uintptrescapes
//go:nosplit
//go:linkname RawSyscall6
func RawSyscall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err Errno) {
	return Syscall6(trap, a1, a2, a3, a4, a5, a6)
}

// pithRawSyscallNoError is where the assembly function rawSyscallNoError goes. It
// does what pithCall does, which would be one frame too many below the stack
// check's limit where nothing is optimised (-gcflags=all='-N -l').
//
//go:nosplit
func pithRawSyscallNoError(trap, a1, a2, a3 uintptr) (r1, r2 uintptr) {
	if pithApart(a1, a2, a3) {
		r, _, err := pithElsewhere(pithStillBasic, trap, a1, a2, a3, 0, 0, 0)
		return pithNoError(r, err)
	}
	r, e := sys.Lookup(trap)(call.NoEscape(&call.Args{A0: a1, A1: a2, A2: a3}))
	return pithNoError(r, Errno(e))
}

//go:nosplit
func pithNoError(r uintptr, e Errno) (r1, r2 uintptr) {
	if e != 0 {
		r = -uintptr(e)
	}
	return r, 0
}

// pithGettimeofday is where the assembly function gettimeofday goes.
func pithGettimeofday(tv *Timeval) Errno {
	if tv != nil {
		sec, nsec := platform.Walltime()
		*tv = Timeval{Sec: sec, Usec: int64(nsec) / 1000}
	}
	return 0
}

// AllThreadsSyscall is one call: all threads are one machine.
//
//go:uintptrescapes
func AllThreadsSyscall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err Errno) {
	return Syscall(trap, a1, a2, a3)
}

// AllThreadsSyscall6 is like AllThreadsSyscall, with six arguments.
//
//go:uintptrescapes
func AllThreadsSyscall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err Errno) {
	return Syscall6(trap, a1, a2, a3, a4, a5, a6)
}

// errOneProgram is the answer to fork and exec.
type errOneProgram struct{}

func (errOneProgram) Error() string {
	return "a unikernel runs one program and cannot start another"
}

// Is makes it the error that Linux without fork would give.
func (errOneProgram) Is(target error) bool { return target == ENOSYS }

func forkExec(argv0 string, argv []string, attr *ProcAttr) (pid int, err error) {
	return 0, errOneProgram{}
}

// Exec cannot replace the program.
func Exec(argv0 string, argv []string, envv []string) (err error) {
	return errOneProgram{}
}
