//go:build pith

// Package refs stands in for gVisor's leak checker, which is off by default.
// The counting itself is in generated code beside what is counted.
package refs

// Register would note that an object lives. Its parameter is any, not an
// interface with methods, so that the linker drops those.
func Register(any) {}

// Unregister would note that it is gone.
func Unregister(any) {}

// LogIncRef would print a reference taken.
func LogIncRef(any, int64) {}

// LogTryIncRef would print a reference taken if there was one.
func LogTryIncRef(any, int64) {}

// LogDecRef would print a reference given back.
func LogDecRef(any, int64) {}
