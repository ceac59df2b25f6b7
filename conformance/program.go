package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/build"
	"go/build/constraint"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// programFolder is the directory of a distribution with the tests of the compiler
// and the runtime. Go's cmd/internal/testdir shows how to run them.
const programFolder = "test"

// programTimeout is far longer than any of the programs takes.
const programTimeout = 2 * time.Minute

// program is a file of programFolder whose first line tells to build and run it.
type program struct {
	file    string // path below the directory: ken/array.go
	leftOut string // why it does not run; empty: it runs

	folder bool     // its packages are in the folder of its name: rundir
	single bool     // each file there is a package
	flags  []string // of go build, or of the compiler when it is a folder
	more   []string // other files of the program
	args   []string
}

func (p *program) name() string { return path.Join(programFolder, p.file) }

// findPrograms returns the programs of a distribution. Distributions from the
// module proxy have none.
func findPrograms(goroot string) ([]*program, error) {
	top := filepath.Join(goroot, programFolder)
	if _, err := os.Stat(top); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []*program
	err := filepath.WalkDir(top, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasSuffix(name, ".dir"):
			return fs.SkipDir // the files of a test beside it
		case e.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		p, err := parseProgram(filepath.ToSlash(file), string(source))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if p != nil {
			list = append(list, p)
		}
		return nil
	})
	return list, err
}

// parseProgram reads the recipe at the head of a file. It returns nil if the recipe
// runs nothing, or nothing on linux/amd64.
func parseProgram(file, source string) (*program, error) {
	recipe := ""
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "package ") {
			break
		}
		if expr, err := constraint.Parse(line); err == nil {
			if !expr.Eval(holds) {
				return nil, nil
			}
		} else if recipe == "" {
			recipe = strings.TrimSpace(strings.TrimPrefix(line, "//"))
		}
	}
	words, err := split(recipe)
	if err != nil || len(words) == 0 {
		return nil, nil // prose
	}
	p := &program{file: file}
	switch words[0] {
	case "run", "buildrun":
	case "rundir":
		p.folder = true
	case "runoutput":
		p.leftOut = "runoutput: writes a program, which go run is to run"
	case "runindir", "buildrundir", "errorcheckandrundir":
		p.leftOut = words[0] + ": a module, assembly or errors of the compiler"
	default:
		return nil, nil
	}
	p.parseFlags(words[1:])
	return p, nil
}

// parseFlags reads the fields after the action.
func (p *program) parseFlags(words []string) {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		switch words[0] {
		case "-s":
			p.single = true
		case "-t": // seconds, far below ours
			words = words[1:]
		case "-race":
			p.leftOut = "-race: the race detector is C code"
		case "-goexperiment":
			p.leftOut = "-goexperiment: another standard library"
			words = words[1:]
		default:
			p.flags = append(p.flags, words[0])
			if words[0] == "-gcflags" || words[0] == "-ldflags" {
				words = words[1:]
				p.flags = append(p.flags, words[0])
			}
		}
		words = words[1:]
	}
	for len(words) > 0 && strings.HasSuffix(words[0], ".go") { // as in go run
		p.more, words = append(p.more, words[0]), words[1:]
	}
	p.args = append(p.args, words...)
}

// holds evaluates a build constraint for linux/amd64 without cgo.
func holds(tag string) bool {
	return slices.Contains([]string{"linux", "unix", "amd64", "gc", "test_run"}, tag) ||
		slices.Contains(build.Default.ReleaseTags, tag) || slices.Contains(build.Default.ToolTags, tag)
}

var word = regexp.MustCompile(`("[^"]*"|'[^']*'|[^\s"'])+`)

// split cuts a recipe into fields. Quotes may stand anywhere in a field.
func split(recipe string) ([]string, error) {
	if strings.Count(recipe, `"`)%2+strings.Count(recipe, "'")%2 > 0 {
		return nil, errors.New("a quote is not closed")
	}
	words := word.FindAllString(recipe, -1)
	for i, w := range words {
		words[i] = strings.NewReplacer(`"`, "", "'", "").Replace(w)
	}
	return words, nil
}

// build links the program into the directory dir.
func (p *program) build(ctx context.Context, d *distribution, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "test.exe")
	if p.folder {
		return binary, p.buildFolder(ctx, d, dir, binary)
	}
	args := append([]string{"build", "-o", binary}, p.flags...)
	args = append(append(args, p.file), p.more...)
	cmd := d.command(ctx, args...)
	cmd.Dir = filepath.Join(d.root, programFolder)
	_, err = output(cmd)
	return binary, err
}

// runProgram runs a program in the test/ directory. The program passes if it exits
// with 0 and prints the text of its .out file, or nothing if it has no such file.
func (r *runner) runProgram(ctx context.Context, x run, binary string, rec *record, log io.Writer) error {
	d := r.on(x.on)
	top := filepath.Join(d.root, programFolder)
	want, err := os.ReadFile(filepath.Join(top, strings.TrimSuffix(x.program.file, ".go")+".out"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	config, err := d.importcfg()
	if err != nil {
		return err
	}
	var got bytes.Buffer
	cmd := r.command(x.on, top, binary, x.program.args)
	cmd.Env = append(cmd.Env, "GOENV=off", "GOFLAGS=", "STDLIB_IMPORTCFG="+config) // for programs that compile
	both := io.MultiWriter(&got, log)
	cmd.Stdout, cmd.Stderr = both, both
	e, err := await(ctx, cmd, min(r.timeout, programTimeout)*time.Duration(x.on.scale), killAfter)
	if err != nil {
		return err
	}
	rec.ExitCode = e.code
	switch {
	case e.quit:
		rec.Ended = endedTimeout
	case e.code != 0:
		rec.Ended = endedCrash
	case !bytes.Equal(got.Bytes(), want):
		rec.Ended = endedFailed
	default:
		rec.Ended, rec.Passed = endedOK, 1
		return nil
	}
	rec.Failed = 1
	lines := strings.Split(got.String(), "\n")
	rec.Failures = []failure{{Test: wholeProgram, Output: lastLines(lines, crashLines)}}
	return nil
}
