// Package pith carries the sources of the library OS, which the toolchain
// copies into the Go distribution that it derives from the user's.
package pith

import "embed"

// LibOS is the folder libos with all its packages.
//
//go:embed libos
var LibOS embed.FS

// Nucleus is the folder nucleus and VM the folder vm: files of package runtime.
//
//go:embed nucleus
var Nucleus embed.FS

//go:embed vm
var VM embed.FS

// GoSum are the hashes of the modules that Pith is built with.
//
//go:embed go.sum
var GoSum string

// GoMod is this module's go.mod.
//
//go:embed go.mod
var GoMod string
