// Package linux is the part of the Linux kernel's binary interface that Go programs
// see: error numbers, system call numbers, flags and the layouts of structures. What
// differs between architectures has their suffix. The package holds facts only and
// imports nothing: the library OS cannot use package syscall, which stands on it.
package linux
