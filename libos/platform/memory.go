package platform

import "runtime"

// Memory is what the runtime has from below: reserved are all bytes that have
// addresses, resident those that it has not given back.
func Memory() (reserved, resident uint64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Sys, m.Sys - m.HeapReleased
}
