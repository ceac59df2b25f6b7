//go:build pith

// Package refs replaces gVisor's leak checker, which is off by default. The
// reference counters themselves are generated code beside their types.
package refs

// Register does nothing. The original records a new object. The parameter has type
// any, so that the linker can drop methods that no other code calls.
func Register(any) {}

// Unregister does nothing. The original records the end of an object.
func Unregister(any) {}

// LogIncRef does nothing. The original logs a new reference.
func LogIncRef(any, int64) {}

// LogTryIncRef does nothing. The original logs an attempt to take a reference.
func LogTryIncRef(any, int64) {}

// LogDecRef does nothing. The original logs a released reference.
func LogDecRef(any, int64) {}
