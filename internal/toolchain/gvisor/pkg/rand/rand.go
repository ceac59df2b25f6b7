//go:build pith

// Package rand replaces gVisor's package rand. It gets entropy from the platform
// instead of a system call.
package rand

import (
	"encoding/binary"
	"io"
	"math/bits"

	"pith/libos/platform"
	_ "pith/libos/sys" // its initialisation starts the VM's source of entropy
)

type reader struct{}

// Read fills b with random bytes.
func (reader) Read(b []byte) (int, error) {
	platform.Random(b)
	return len(b), nil
}

// Reader returns random bytes from the platform.
var Reader io.Reader = reader{}

// Read fills b with random bytes.
func Read(b []byte) (int, error) { return Reader.Read(b) }

// RNG makes numbers from the bytes of a reader.
type RNG struct{ Reader io.Reader }

// RNGFrom returns an RNG that reads r.
func RNGFrom(r io.Reader) RNG { return RNG{r} }

// Uint64 returns 64 random bits. It panics if the reader fails.
func (r *RNG) Uint64() uint64 {
	var b [8]byte
	if _, err := io.ReadFull(r.Reader, b[:]); err != nil {
		panic("rand: " + err.Error())
	}
	return binary.LittleEndian.Uint64(b[:])
}

// Uint32 returns 32 random bits.
func (r *RNG) Uint32() uint32 { return uint32(r.Uint64()) }

// Uint16 returns 16 random bits.
func (r *RNG) Uint16() uint16 { return uint16(r.Uint64()) }

// Int63 returns a random number that is 0 or more.
func (r *RNG) Int63() int64 { return int64(r.Uint64() >> 1) }

// Int63n returns a random number in [0, n). It takes the upper half of a 128-bit
// product, whose bias is less than n in 2^64.
func (r *RNG) Int63n(n int64) int64 {
	if n <= 0 {
		panic("rand: Int63n with an argument below 1")
	}
	hi, _ := bits.Mul64(r.Uint64(), uint64(n))
	return int64(hi)
}
