package toolchain

import (
	"fmt"
	"strings"

	"github.com/pith-os/pith"
)

// required returns the version of a module that Pith is built with.
func required(module string) (string, error) {
	for line := range strings.Lines(pith.GoMod) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) >= 2 && f[0] == module {
			return f[1], nil
		}
	}
	return "", fmt.Errorf("%s is not in Pith's go.mod", module)
}

// checkSum compares a module's hash with the go.sum that Pith was built with.
func checkSum(module, sum string) error {
	want := strings.Replace(module, "@", " ", 1) + " "
	for line := range strings.Lines(pith.GoSum) {
		if rest, ok := strings.CutPrefix(line, want); ok {
			if rest = strings.TrimSpace(rest); rest != sum {
				return fmt.Errorf("%s has the hash %s instead of %s: clear the module cache (go clean -modcache) and try again", module, sum, rest)
			}
			return nil
		}
	}
	return fmt.Errorf("%s is not in Pith's go.sum", module)
}
