package boot

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// The nucleus is part of package runtime and imports nothing.
func TestTheNucleusHasTheSameExitCodes(t *testing.T) {
	source, err := os.ReadFile("../../nucleus/die.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"exitMachine": ExitFailure, "exitMemory": ExitOutOfMemory, "exitForeign": ExitForbidden, "exitCrash": ExitCrash,
	} {
		m := regexp.MustCompile(`\b` + name + `\s*=\s*(\d+)`).FindSubmatch(source)
		if m == nil || string(m[1]) != strconv.Itoa(want) {
			t.Errorf("%s is %q in the nucleus, want %d", name, m, want)
		}
	}
}
