//go:build !pith

package sys

// Tests make every call.
func init() { Everything() }
