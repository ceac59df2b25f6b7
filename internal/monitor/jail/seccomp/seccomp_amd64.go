package seccomp

import "golang.org/x/sys/unix"

// auditArch is the architecture whose system calls a filter may permit.
const auditArch = unix.AUDIT_ARCH_X86_64

// firstForeign is the first number that is none of its own: from here on they are the
// x32 ABI's, which has x86-64's architecture value (seccomp(2), "Architecture-specific
// details").
const firstForeign = 0x40000000
