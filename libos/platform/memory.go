package platform

import "runtime"

// Memory returns the bytes that the Go runtime has reserved, and those among them
// that are resident: not given back.
func Memory() (reserved, resident uint64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys, m.Sys - m.HeapReleased
}
