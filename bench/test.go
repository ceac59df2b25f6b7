package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// testFigure: the time of the whole command, go test or pith test. The package has
// one test and the build cache is warm.
var testFigure = figure{
	name:    "test",
	what:    "`pith test` of a small package, whole command, beyond `go test`, warm cache",
	goal:    "at most 1 s",
	measure: measureTest,
}

func measureTest(b *bench) ([]line, error) {
	pith, err := b.lab.Pith(b.ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pith-bench-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"go.mod":        "module example.com/small\n\ngo 1.25\n",
		"small_test.go": "package small\n\nimport \"testing\"\n\nfunc TestSmall(t *testing.T) {}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	run := func(m harness.Monitor) (float64, error) {
		argv := []string{"go", "test"}
		if m.Image {
			argv = append([]string{pith, "test"}, m.Flags...)
		}
		cmd := exec.CommandContext(b.ctx, argv[0], append(slices.Clone(argv[1:]), "-count=1", ".")...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		start := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return time.Since(start).Seconds(), err
	}
	contestants := b.contestants("pith", "plain")
	for _, m := range contestants { // to fill the cache
		if _, err := run(m); err != nil {
			return nil, err
		}
	}
	all, err := b.alternate(contestants, run)
	if err != nil {
		return nil, err
	}
	l := newLine("", "s", all)
	base, _ := l.of(harness.Plain.Name)
	for _, m := range contestants {
		if v, ok := l.of(m.Name); ok && m.Image {
			l.Ratios = append(l.Ratios, ratio{digits(v-base) + " s more", v-base <= 1})
		}
	}
	return []line{l}, nil
}
