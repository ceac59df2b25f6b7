package main

import "syscall"

// isCall reports whether a task that is stopped at a system call makes the call
// number with this second argument.
func isCall(regs *syscall.PtraceRegs, number, arg2 uint64) bool {
	return regs.Orig_rax == number && regs.Rsi == arg2
}
