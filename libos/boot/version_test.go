package boot

import (
	"strconv"
	"strings"
	"testing"
)

func TestTheVersionIsTheFirstParameter(t *testing.T) {
	line := Config{PID: 1, Hostname: "h"}.String()
	if first, _, _ := strings.Cut(line, " "); first != "version="+strconv.Itoa(Version) {
		t.Errorf("the line begins with %q", first)
	}
	if _, err := Parse(line); err != nil {
		t.Error(err)
	}
	if _, err := Parse("host=by-hand"); err != nil {
		t.Errorf("without a version: %v", err)
	}
}

// A parameter that the image does not know may come with another version: the version
// is what the message is about.
func TestAnotherVersionIsRefusedInOneLine(t *testing.T) {
	for _, v := range []int{OldestVersion - 1, Version + 1} {
		_, err := Parse("version=" + strconv.Itoa(v) + " pid=1 new=1")
		if err == nil {
			t.Fatalf("version %d is accepted", v)
		}
		for _, part := range []string{"the monitor's is " + strconv.Itoa(v), "takes version " + strconv.Itoa(Version), "build the image again"} {
			if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
				t.Errorf("version %d: %q does not say %q in one line", v, err, part)
			}
		}
	}
	if _, err := Parse("version=one"); err == nil {
		t.Error("a version that is no number is accepted")
	}
	if OldestVersion > Version {
		t.Error("no version is accepted")
	}
}
