package image

import (
	"runtime/debug"
	"sync"
)

// Version is pith's own version, as recorded in the images that it builds.
var Version = sync.OnceValue(func() string {
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" {
		return bi.Main.Version
	}
	return "(devel)"
})
