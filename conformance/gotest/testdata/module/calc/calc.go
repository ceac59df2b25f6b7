// Package calc is a package with tests of every kind.
package calc

// Half is half of n.
func Half(n int) int { return n / 2 }

// Twice is never tested.
func Twice(n int) int { return 2 * n }
