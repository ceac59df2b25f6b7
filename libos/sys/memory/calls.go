// Package memory has the system calls that map memory. What a mapping is stands
// in package mm.
package memory

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
)

// Rest are the calls that only a program that names system calls makes: see
// package sys.
var Rest = []call.Entry{
	{linux.SYS_MMAP, mmap},
	{linux.SYS_MUNMAP, munmap},
	{linux.SYS_MPROTECT, mprotect},
	{linux.SYS_MADVISE, madvise},
	// All memory is resident.
	{linux.SYS_MLOCK, noEffect},
	{linux.SYS_MLOCK2, noEffect},
	{linux.SYS_MUNLOCK, noEffect},
	{linux.SYS_MLOCKALL, noEffect},
	{linux.SYS_MUNLOCKALL, noEffect},
	{linux.SYS_MSYNC, msync},
	{linux.SYS_MREMAP, mremap},
	{linux.SYS_MINCORE, mincore},
	{linux.SYS_MEMFD_CREATE, memfdCreate},
}
