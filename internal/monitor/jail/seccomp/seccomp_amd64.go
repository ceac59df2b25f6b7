package seccomp

import "golang.org/x/sys/unix"

// auditArch is the only architecture from which a filter permits system calls.
const auditArch = unix.AUDIT_ARCH_X86_64

// firstForeign is the first system call number that does not belong to x86-64. Higher
// numbers are the x32 ABI's, which has the same architecture value (seccomp(2),
// "Architecture-specific details").
const firstForeign = 0x40000000
