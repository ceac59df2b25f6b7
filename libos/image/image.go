// Package image holds the data that the image builder writes into the linked
// ELF file for the library OS.
package image

// Root is the address and the size in bytes of the root files: a cpio archive
// in the "newc" format, mapped read-only. The builder fills it in. It finds
// Root by the magic numbers in its initial value, which only the derived
// distribution has.
var Root = [2]uintptr{magic0, magic1}
