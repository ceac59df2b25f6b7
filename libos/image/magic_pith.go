//go:build pith

package image

const (
	magic0 = 0x6d6920687469709b // "\x9bpith im"
	magic1 = 0x746f6f522e656761 // "age.Root"
)
