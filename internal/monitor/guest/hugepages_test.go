package guest

import (
	"strings"
	"testing"
)

func TestTooFewHugePagesSayHowToHaveMore(t *testing.T) {
	err := CheckHugePages(1 << 60)
	if err == nil || !strings.Contains(err.Error(), "sudo sysctl vm.nr_hugepages=") && !strings.Contains(err.Error(), "has no huge pages") {
		t.Error(err)
	}
	if err := CheckHugePages(0); err != nil && !strings.Contains(err.Error(), "has no huge pages") {
		t.Error(err)
	}
}
