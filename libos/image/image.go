// Package image holds what the image builder writes into the linked ELF for
// the library OS to find.
package image

// Root is the address and the size in bytes of the root files, a cpio archive
// in the "newc" format, mapped read-only. The builder fills it in; it finds it
// by the magic that it starts as, which only the derived distribution has.
var Root = [2]uintptr{magic0, magic1}
