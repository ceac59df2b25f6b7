package main

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

// Where standard output and error are one file, what was written first comes
// first, whoever wrote it; standard error alone keeps its order as well.
func TestOutputAndErrorKeepTheirOrder(t *testing.T) {
	for _, m := range harness.Selected() {
		if !m.Image {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			pith := harness.Pith(t, m)
			for _, c := range []struct {
				what string
				read func(*exec.Cmd) ([]byte, error)
				want string
			}{
				{"both", (*exec.Cmd).CombinedOutput, "123412341234"},
				{"standard error", func(cmd *exec.Cmd) ([]byte, error) {
					var b strings.Builder
					cmd.Stderr = &b
					_, err := cmd.Output()
					return []byte(b.String()), err
				}, "234234234"},
			} {
				cmd := exec.CommandContext(t.Context(), pith, slices.Concat([]string{"run"}, m.Flags, []string{"./testdata/order"})...)
				out, err := c.read(cmd)
				if code := cmd.ProcessState.ExitCode(); code != 2 {
					t.Errorf("%s: exit code %d, %v", c.what, code, err)
				}
				var got strings.Builder
				for _, n := range regexp.MustCompile(`(?m)^(?:panic: )?(\d): `).FindAllSubmatch(out, -1) {
					got.Write(n[1])
				}
				if got.String() != c.want+"5" {
					t.Errorf("%s: %s, want %s5\n%s", c.what, got.String(), c.want, out)
				}
			}
		})
	}
}
