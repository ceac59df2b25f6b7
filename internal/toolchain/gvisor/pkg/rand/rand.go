//go:build pith

// Package rand stands in for gVisor's: entropy comes from the platform, not
// from a system call.
package rand

import (
	"encoding/binary"
	"io"
	"math/bits"

	"pith/libos/platform"
	_ "pith/libos/sys" // initialised first: it starts what a virtual machine has entropy from
)

type reader struct{}

// Read fills b.
func (reader) Read(b []byte) (int, error) {
	platform.Random(b)
	return len(b), nil
}

// Reader is the platform's entropy.
var Reader io.Reader = reader{}

// Read fills b.
func Read(b []byte) (int, error) { return Reader.Read(b) }

// RNG makes numbers of the bytes of a reader.
type RNG struct{ Reader io.Reader }

// RNGFrom is an RNG that reads r.
func RNGFrom(r io.Reader) RNG { return RNG{r} }

// Uint64 is 64 random bits. A reader that fails is not random: it panics.
func (r *RNG) Uint64() uint64 {
	var b [8]byte
	if _, err := io.ReadFull(r.Reader, b[:]); err != nil {
		panic("rand: " + err.Error())
	}
	return binary.LittleEndian.Uint64(b[:])
}

// Uint32 is 32 random bits.
func (r *RNG) Uint32() uint32 { return uint32(r.Uint64()) }

// Uint16 is 16 random bits.
func (r *RNG) Uint16() uint16 { return uint16(r.Uint64()) }

// Int63 is a random number that is not negative.
func (r *RNG) Int63() int64 { return int64(r.Uint64() >> 1) }

// Int63n is a random number below n. The high word of a 64 by 64 bit product
// is it, with a bias below n in 2^64.
func (r *RNG) Int63n(n int64) int64 {
	if n <= 0 {
		panic("rand: Int63n of a number that is not positive")
	}
	hi, _ := bits.Mul64(r.Uint64(), uint64(n))
	return int64(hi)
}
