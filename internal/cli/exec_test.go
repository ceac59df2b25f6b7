package cli

import (
	"slices"
	"testing"
)

func TestFoldersOfATestsOutput(t *testing.T) {
	for _, tt := range []struct {
		args, want []string
	}{
		{[]string{"-test.v", "x"}, nil},
		{[]string{"-test.cpuprofile=a/cpu", "-test.run=X"}, []string{"/dir/a"}},
		{[]string{"--test.memprofile", "/b/mem", "-test.v"}, []string{"/b"}},
		{[]string{"-test.outputdir=/out", "-test.trace=t"}, []string{"/out", "/out"}},
		{[]string{"-test.gocoverdir", "cover"}, []string{"/dir/cover"}},
		{[]string{"-test.cpuprofile"}, nil},
	} {
		if got := outputs("/dir", tt.args); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}
