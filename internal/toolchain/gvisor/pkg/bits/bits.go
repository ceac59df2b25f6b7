//go:build pith

// Package bits stands in for gVisor's, of which the network stack uses one
// function.
package bits

import "math/bits"

// MostSignificantOne64 is the index of the highest bit set; 64 when none is.
func MostSignificantOne64(x uint64) int {
	if x == 0 {
		return 64
	}
	return bits.Len64(x) - 1
}
