//go:build pith

// Package bits replaces gVisor's package bits. It has the one function that the
// network stack uses.
package bits

import "math/bits"

// MostSignificantOne64 returns the index of the highest bit set in x, or 64 if x is 0.
func MostSignificantOne64(x uint64) int {
	if x == 0 {
		return 64
	}
	return bits.Len64(x) - 1
}
