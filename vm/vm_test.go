// Package vm holds files of package runtime, see thread.go. Its tests have the build
// tag pith and run in a process of the host: TestThreadLayer puts the sources of the
// thread layer and their tests into a package of their own and runs it. There, sim
// (sim_test.go) stands for the nucleus, the vCPUs and the threads of a program.
package vm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// TestThreadLayer runs every test of the package that derive makes. With -race,
// the race detector watches that package too.
func TestThreadLayer(t *testing.T) {
	dir := t.TempDir()
	if err := derive(dir); err != nil {
		t.Fatal(err)
	}
	args := []string{"test", "-c", "-o", "tests", "-gcflags=-d=checkptr=0"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := command(dir, "go", args...); err != nil {
		t.Fatalf("the thread layer does not build in a process of the host: %v\n%s", err, out)
	}
	binary := filepath.Join(dir, "tests")
	list, err := command(dir, binary, "-test.list", ".")
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	names := strings.Fields(list)
	if len(names) < 20 {
		t.Fatalf("the package has only %d tests: %q", len(names), names)
	}
	for _, name := range names {
		t.Run(strings.TrimPrefix(name, "Test"), func(t *testing.T) {
			if out, err := command(dir, binary, "-test.run", "^"+name+"$", "-test.timeout", "2m"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// command runs a program in dir and returns what it wrote.
func command(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOTOOLCHAIN=local")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// addresses are the constants of the address space that become variables, since a
// process of the host has no memory there.
var addresses = regexp.MustCompile(`(?m)^\t(userShared|vmThreads|vmStackArea)\s+= 0x[0-9a-f]+.*\n`)

// assembly are the declarations of the functions in the gate's assembly. The tests
// define them in Go.
var assembly = regexp.MustCompile(`(?m)^func vm\w+\([^{\n]*\n`)

// derive writes the package to dir. It has the sources of the thread layer and of
// the nucleus, whose types and constants the thread layer uses, and Linux's
// structures from the Go distribution.
func derive(dir string) error {
	var files []string
	for _, pattern := range []string{"*.go", "../nucleus/*.go", "../libos/platform/calls.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	files = append(files, filepath.Join(strings.TrimSpace(string(goroot)), "src/runtime/defs_linux_"+runtime.GOARCH+".go"))
	var moved []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		const tag = "//go:build pith\n"
		if strings.HasSuffix(file, "_test.go") && !bytes.HasPrefix(data, []byte(tag)) {
			continue
		}
		for _, m := range addresses.FindAllSubmatch(data, -1) {
			moved = append(moved, string(m[1]))
		}
		data = addresses.ReplaceAll(data, nil)
		data = assembly.ReplaceAll(data, nil)
		for _, r := range [][2]string{
			{tag, ""},
			{"package platform\n", "package runtime\n"},
			{"//go:nosplit\n", ""}, // the stacks of these tests grow
			{"\t\"internal/runtime/sys\"\n", ""},
			{"\t_ sys.NotInHeap\n", ""},
		} {
			data = bytes.ReplaceAll(data, []byte(r[0]), []byte(r[1]))
		}
		name := strings.ReplaceAll(filepath.Base(filepath.Dir(file)), ".", "vm") + "_" + filepath.Base(file)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	if slices.Sort(moved); !slices.Equal(moved, []string{"userShared", "vmStackArea", "vmThreads"}) {
		return fmt.Errorf("the sources define %q, which this test moves, instead of userShared, vmStackArea and vmThreads", moved)
	}
	clock, err := clockAssembly()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "clock_"+runtime.GOARCH+".s"), clock, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module threadlayer\n\ngo 1.25\n"), 0o644)
}

// clockAssembly takes the function by which the runtime reads the clock out of the
// gate's assembly, and adds a way to call it from Go.
func clockAssembly() ([]byte, error) {
	const file = "gate_amd64.s"
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const start = "TEXT runtime·vmclockgettime(SB)"
	_, rest, ok := bytes.Cut(data, []byte(start))
	body, _, ok2 := bytes.Cut(rest, []byte("\n\n"))
	if !ok || !ok2 {
		return nil, fmt.Errorf("%s has no function that begins with %q", file, start)
	}
	return bytes.ReplaceAll(slices.Concat([]byte(`#include "go_asm.h"
#include "textflag.h"

`), []byte(start), body, []byte(`

// func readClock(id int64, ts *timespec)
TEXT ·readClock(SB),NOSPLIT,$8-16
	MOVQ	id+0(FP), DI
	MOVQ	ts+8(FP), SI
	CALL	·vmclockgettime(SB)
	RET
`)), []byte("runtime·"), []byte("·")), nil
}
