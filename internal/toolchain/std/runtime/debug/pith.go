//go:build pith

package debug

import (
	"errors"
	"os"
)

// SetCrashOutput is refused for a file: when the runtime crashes it can write
// to standard error, but run nothing of the library OS, to which files belong.
func SetCrashOutput(f *os.File, opts CrashOptions) error {
	if f == nil {
		return nil
	}
	return errors.New("runtime/debug: a crash is reported on standard error only")
}
