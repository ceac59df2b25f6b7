// Package linux is the part of the Linux kernel's binary interface on x86-64
// that Go programs see: error numbers, system call numbers, flags and the
// layouts of structures. It is facts only and imports nothing; the library OS
// cannot use package syscall, which stands on it.
package linux
