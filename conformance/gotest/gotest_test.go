// Package gotest compares pith test with go test: the same module, the same
// flags, the same output, exit code and files.
package gotest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// outcome is the result of a run of the tests.
type outcome struct {
	output string
	code   int
	files  []string // files in the module after the run
}

// run runs argv in a new copy of the module. In arguments, DIR is its directory.
func run(t *testing.T, argv ...string) outcome {
	t.Helper()
	return runIn(t, filepath.Join(t.TempDir(), "module"), argv...)
}

// runIn runs argv in a new copy of the module, in the directory dir. It removes
// the copy that an earlier call has left there. The go command then finds what
// it compiled in that directory.
func runIn(t *testing.T, dir string, argv ...string) outcome {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS("testdata/module")); err != nil {
		t.Fatal(err)
	}
	argv = slices.Clone(argv)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "DIR", dir)
	}
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTEST_VARIABLE=its value", "CGO_ENABLED=0", "GOFLAGS=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	o := outcome{output: normalize(out.String(), dir), code: cmd.ProcessState.ExitCode()}
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			o.files = append(o.files, strings.TrimPrefix(name, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// differing matches the text in which two runs of the same tests differ: times,
// and the goroutines and addresses of a panic.
var differing = []*regexp.Regexp{
	regexp.MustCompile(`[0-9.]+s\b`),
	regexp.MustCompile(`"Time":"[^"]*"`),
	regexp.MustCompile(`"Elapsed":[0-9.]+`),
	regexp.MustCompile(`(?s)goroutine \d+ \[.*?\nFAIL`),
	regexp.MustCompile(`(?m)^cpu: .*$`),
	regexp.MustCompile(`/tmp/go-build\d+`),
	regexp.MustCompile(`Benchmark\S+\s+\d+\s+[0-9.]+ ns/op`),
}

func normalize(s, dir string) string {
	for _, re := range differing {
		s = re.ReplaceAllString(s, "*")
	}
	return strings.ReplaceAll(s, dir, "DIR")
}

func TestAsGoTest(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		code int
	}{
		{"packages", []string{"./..."}, 0},
		{"verbose", []string{"-v", "-p=1", "./..."}, 0},
		{"json", []string{"-json", "-run", "Files|Environment", "./calc"}, 0},
		{"a test by name, twice", []string{"-run", "TestParallel/to", "-v", "-count=2", "./calc"}, 0},
		{"seeds of a fuzz test", []string{"-run", "Fuzz", "-v", "./calc"}, 0},
		{"bubbles", []string{"-count=3", "./bubble"}, 0},
		{"benchmark", []string{"-run", "^$", "-bench", ".", "-benchtime", "10x", "./calc"}, 0},
		{"coverage", []string{"-coverprofile=cover.out", "./calc"}, 0},
		{"profiles", []string{"-cpuprofile=cpu.out", "-memprofile=DIR/mem.out", "-trace=trace.out", "-outputdir=.", "-o=calc.test", "./calc"}, 0},
		{"nothing optimised, as for a debugger", []string{"-gcflags=all=-N -l", "./other"}, 0},
		{"no race detector asked for", []string{"-race=false", "./other"}, 0},
		{"failure", []string{"./calc", "-mode=fail"}, 1},
		{"a flag after -args", []string{"./calc", "-args", "-mode=fail"}, 1},
		{"skip", []string{"-v", "-run=Mode", "./calc", "-mode=skip"}, 0},
		{"exit", []string{"./calc", "-mode=exit"}, 1},
		{"panic", []string{"./calc", "-mode=panic"}, 1},
		{"timeout", []string{"-timeout=3s", "-run=Mode", "./calc", "-mode=hang"}, 1},
		{"golden file", []string{"./calc", "-mode=update"}, 0},
		{"no such package", []string{"./nothing"}, 1},
		{"no such flag", []string{"./other", "-nonsense"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			// No two of these runs have the same flags, so none gets the cached
			// result of another.
			dir := filepath.Join(t.TempDir(), "module")
			want := runIn(t, dir, append([]string{"go", "test"}, c.args...)...)
			if want.code != c.code {
				t.Fatalf("go test: exit code %d, want %d\n%s", want.code, c.code, want.output)
			}
			each(t, func(t *testing.T, pith string, flags []string) {
				got := runIn(t, dir, slices.Concat([]string{pith, "test"}, flags, c.args)...)
				if got.code != want.code || got.output != want.output {
					t.Errorf("exit code %d\n%s\ngo test: exit code %d\n%s", got.code, got.output, want.code, want.output)
				}
				if !slices.Equal(got.files, want.files) {
					t.Errorf("leaves the files %q, go test %q", got.files, want.files)
				}
			})
		})
	}
}

// each runs check on each monitor that runs images. check gets the path of pith
// and the flags that choose the monitor.
func each(t *testing.T, check func(t *testing.T, pith string, flags []string)) {
	for _, m := range harness.Selected() {
		if m.Image {
			t.Run(m.Name, func(t *testing.T) { check(t, harness.Pith(t, m), m.Flags) })
		}
	}
}

func TestProfilesAreReadable(t *testing.T) {
	each(t, func(t *testing.T, pith string, flags []string) {
		out := filepath.Join(t.TempDir(), "out")
		o := run(t, slices.Concat([]string{pith, "test", "-coverprofile=" + out, "-run=Fuzz"}, flags, []string{"./calc"})...)
		if o.code != 0 {
			t.Fatal(o.output)
		}
		text, err := os.ReadFile(out)
		const covered = "example.com/module/calc/calc.go:5.22,5.38 1 1"
		if err != nil || !strings.Contains(string(text), covered) {
			t.Errorf("coverage profile: %v\n%s", err, text)
		}
	})
}

// pith test is go test with -exec, by pith go or by the derived distribution's
// own go command.
func TestTheDerivedGoIsAnOrdinaryGo(t *testing.T) {
	each(t, func(t *testing.T, pith string, flags []string) {
		run := func(want string, argv ...string) {
			t.Helper()
			if o := run(t, argv...); o.code != 0 || !strings.Contains(o.output, want) {
				t.Errorf("%q: exit code %d\n%s", argv, o.code, o.output)
			}
		}
		wrapper := strings.Join(slices.Concat([]string{pith, "exec"}, flags), " ")
		run("ok  \texample.com/module/calc", pith, "go", "test", "-exec", wrapper, "./calc")
		run("", pith, "go", "vet", "./...")
		run("example.com/module/other", pith, "go", "list", "./...")
		out, err := exec.CommandContext(t.Context(), pith, "go", "env", "GOROOT").Output()
		if err != nil {
			t.Fatal(err)
		}
		tool := filepath.Join(strings.TrimSpace(string(out)), "bin", "go")
		run("ok  \texample.com/module/calc", tool, "test", "-exec", wrapper, "./calc")
		run(strings.TrimSpace(string(out)), tool, "env", "GOROOT")
	})
}

func TestUnsupportedFlagsAreNamed(t *testing.T) {
	each(t, func(t *testing.T, pith string, flags []string) {
		for arg, want := range map[string]string{
			"-race":          "needs cgo",
			"-fuzz=FuzzHalf": "starts processes",
			"--monitor":      "has no value",
			"--monitor=none": "--monitor none is not known",
		} {
			o := run(t, pith, "test", "./calc", arg)
			if o.code != 1 || !strings.Contains(o.output, want) {
				t.Errorf("%s: exit code %d\n%s", arg, o.code, o.output)
			}
		}
	})
}
