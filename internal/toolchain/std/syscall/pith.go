//go:build pith

package syscall

import (
	"pith/libos/platform"
	"pith/libos/sys"
	"pith/libos/sys/call"
	_ "unsafe" // for go:linkname
)

// This file turns every system call of the program into a function call into the
// library OS, on the calling goroutine. The exported functions replace the functions
// of the same names in syscall_linux.go. The package's own functions call pithCall
// and pithCall6 instead (edits.go). So an image has all calls of the library OS only
// if the program can make a system call by number.
//
// Go code converts pointers to numbers in the call (unsafe rule 4). The directive
// go:uintptrescapes moves their targets to the heap and keeps them alive. Assembly
// (golang.org/x/sys/unix) has no such directive, so its pointers may lead into the
// caller's stack: see pithstillcall in the runtime.

// pithStill is a system call that another goroutine makes. The runtime has the same
// type. Only the runtime uses the last two fields.
type pithStill struct {
	call     func(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr)
	args     [7]uintptr
	r, e     uintptr
	gp, next uintptr
}

// pithStillCall makes the call s on another goroutine and waits for its result.
//
//go:linkname pithStillCall
//go:noescape
func pithStillCall(s *pithStill)

// pithElsewhere makes a call on another goroutine.
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

// pithStillBasic and pithStillAny are the functions that the other goroutine calls.
func pithStillBasic(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr) {
	r, e := sys.Call(num, a1, a2, a3, a4, a5, a6)
	return r, uintptr(e)
}

func pithStillAny(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr) {
	sys.Everything()
	return pithStillBasic(num, a1, a2, a3, a4, a5, a6)
}

func init() {
	// After linking, package image makes assembly of other packages call this
	// function, so every image must have it.
	pithKeep = rawSyscallNoError
}

var pithKeep func(trap, a1, a2, a3 uintptr) (r1, r2 uintptr)

// pithCall makes a system call that every image has in its table.
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

// pithResult converts a result to the form of package syscall: on an error, all bits
// of r1 are set.
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
	// This check must come before the stack can grow.
	if pithApart(a1, a2, a3) || pithApart(a4, a5, a6) {
		return pithElsewhere(pithStillAny, trap, a1, a2, a3, a4, a5, a6)
	}
	sys.Everything()
	r, e := sys.Lookup(trap)(call.NoEscape(&call.Args{A0: a1, A1: a2, A2: a3, A3: a4, A4: a5, A5: a6}))
	return pithResult(r, Errno(e))
}

// A system call of the library OS holds no thread, so the raw functions do the same as
// the others.

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

// pithRawSyscallNoError is the target of the assembly function rawSyscallNoError. It
// repeats the code of pithCall instead of calling it. Without optimisation
// (-gcflags=all='-N -l') the extra frame would exceed the limit for functions without
// a stack check.
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

// pithGettimeofday is the target of the assembly function gettimeofday.
func pithGettimeofday(tv *Timeval) Errno {
	if tv != nil {
		sec, nsec := platform.Walltime()
		*tv = Timeval{Sec: sec, Usec: int64(nsec) / 1000}
	}
	return 0
}

// AllThreadsSyscall makes a single call, because the library OS keeps no state by
// thread.
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

// errOneProgram is the error of fork and exec.
type errOneProgram struct{}

func (errOneProgram) Error() string {
	return "a unikernel runs one program and cannot start another"
}

// Is makes the error match ENOSYS, the error of a kernel without fork.
func (errOneProgram) Is(target error) bool { return target == ENOSYS }

func forkExec(argv0 string, argv []string, attr *ProcAttr) (pid int, err error) {
	return 0, errOneProgram{}
}

// Exec fails, because an instance cannot replace its program.
func Exec(argv0 string, argv []string, envv []string) (err error) {
	return errOneProgram{}
}
