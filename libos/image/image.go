// Package image holds what the image builder writes into the linked ELF for
// the library OS to find.
package image

// Root is the address and the size in bytes of the root files, a cpio archive
// in the "newc" format, mapped read-only. The builder fills it in by symbol.
// It starts as ones, not zeros, so that the linker gives it room in the file.
var Root = [2]uintptr{1, 1}
