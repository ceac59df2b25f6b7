package sys_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestNoHandlerKeepsItsArguments asks the compiler which parameters of type
// *call.Args a function leaks: see call.NoEscape.
func TestNoHandlerKeepsItsArguments(t *testing.T) {
	out, err := exec.Command("go", "build", "-gcflags=-m", "./...").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "does not escape") {
		t.Fatalf("the compiler says nothing of escapes:\n%s", out)
	}
	for _, m := range regexp.MustCompile(`(?m)^(?:\./)?([\w/]+\.go):(\d+):\d+: (?:leaking param|moved to heap)[^:]*: (\w+)`).FindAllStringSubmatch(string(out), -1) {
		src, err := os.ReadFile(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(m[2])
		if line := strings.Split(string(src), "\n")[n-1]; strings.Contains(line, m[3]+" *call.Args") || strings.Contains(line, m[3]+" *Args") {
			t.Errorf("%s:%s: %s leaks: %s", m[1], m[2], m[3], strings.TrimSpace(line))
		}
	}
}
