package image

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Options describe a build.
type Options struct {
	Package string // as for go build and go run: import path, ./dir, file.go, path@version
	Output  string // file to write; empty: the package's name with the suffix .pith
	Dir     string // folder to build in; empty: the current one

	Tags     string
	Ldflags  *string // nil: the user's GOFLAGS; if they have no flags either, no symbol table
	Trimpath bool
	Verbose  bool // print the names of packages during compilation
	Files    []Mapping
	Args     []string // the program's arguments if the user gives none at run time
	Env      []string // K=V

	// Stderr gets go build's output if Verbose is set.
	Stderr io.Writer
	// Progress is called with a description before each step that may take long.
	Progress func(string)
}

var errNotMain = errors.New("not a program: an image is made of exactly one package main")

// GoError means that go build failed. Output is go build's output.
type GoError struct {
	Package string
	Output  string
}

func (e *GoError) Error() string { return "go could not build " + e.Package + ":\n" + e.Output }

// Distribution is a Go distribution derived by package toolchain.
type Distribution interface {
	// Command returns a run of its go command, which builds images without cgo.
	Command(ctx context.Context, args ...string) *exec.Cmd
}

// Result describes an image that was built.
type Result struct {
	Path     string
	Manifest *Manifest
}

// Build builds an image with a derived distribution.
func Build(ctx context.Context, d Distribution, o Options) (*Result, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	tmp, err := os.MkdirTemp("", "pith-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)

	env, err := goEnv(ctx, d, o.Dir)
	if err != nil {
		return nil, err
	}
	ldflags := o.linkerFlags(env["GOFLAGS"])
	o.Progress("compiling " + o.Package)
	p, name, err := o.compile(ctx, d, tmp, ldflags, "")
	if err != nil {
		return nil, err
	}
	if p.opensSockets() {
		overlay, err := o.netOverlay(ctx, d, tmp, env["GOMODCACHE"])
		if err != nil {
			return nil, err
		}
		if overlay != "" {
			if p, name, err = o.compile(ctx, d, tmp, ldflags, overlay); err != nil {
				return nil, err
			}
		}
	}
	out, m, err := o.finish(p, name, env["GOROOT"])
	if err != nil {
		return nil, err
	}
	if o.Output == "" {
		o.Output = name + ".pith"
	}
	if err := writeFile(o.Output, out); err != nil {
		return nil, err
	}
	return &Result{o.Output, m}, nil
}

// Finish makes an image of an executable that the go command of a derived distribution has
// linked. It takes the same steps as Build after the link. goroot is the distribution's GOROOT.
// The program's name is the name of the file.
func Finish(executable, goroot string, o Options) (*Result, error) {
	data, err := os.ReadFile(executable)
	if err != nil {
		return nil, err
	}
	p, err := parseProgram(data)
	var format *elf.FormatError
	if errors.As(err, &format) || err == nil && !p.hasGate() {
		err = ErrNotDerived
	}
	if err != nil {
		return nil, err
	}
	out, m, err := o.finish(p, filepath.Base(executable), goroot)
	if err != nil {
		return nil, err
	}
	return &Result{o.Output, m}, writeFile(o.Output, out)
}

// ErrNotDerived is the error of Finish for an executable that another Go has linked.
var ErrNotDerived = errors.New("it was not linked by pith's Go")

// finish makes an image of a linked program.
func (o *Options) finish(p *program, name, goroot string) ([]byte, *Manifest, error) {
	root, err := p.root(goroot, o.Files)
	if err != nil {
		return nil, nil, fmt.Errorf("the image's files: %w", err)
	}
	archive, err := root.archive()
	if err != nil {
		return nil, nil, fmt.Errorf("the image's files: %w", err)
	}
	if err := p.redirectNoError(); err != nil {
		return nil, nil, err
	}
	m, err := p.manifest()
	if err != nil {
		return nil, nil, err
	}
	m.Root.Files, m.Args, m.Env = len(root), o.Args, o.Env
	out, err := p.link(name, m, archive)
	return out, m, err
}

// goEnv asks the go command for the settings that a build needs.
func goEnv(ctx context.Context, d Distribution, dir string) (map[string]string, error) {
	cmd := d.Command(ctx, "env", "-json", "GOFLAGS", "GOMODCACHE", "GOROOT")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	env := map[string]string{}
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	return env, nil
}

// linkerFlags returns go build's flags for the linker. Unless the user gives flags, the image
// has no symbol table and no debugging information.
func (o *Options) linkerFlags(goflags string) []string {
	switch {
	case o.Ldflags != nil:
		return []string{"-ldflags=" + *o.Ldflags}
	case givenLdflags.MatchString(goflags):
		return nil
	}
	return []string{"-ldflags=-s -w"}
}

// givenLdflags matches a list of flags, quoted or not, that contains flags for the linker.
var givenLdflags = regexp.MustCompile(`(^|[\s'"])--?ldflags=`)

// interruptGrace is how long the go command may take to end after an interrupt.
const interruptGrace = 5 * time.Second

// compile makes the go command build the program. overlay is empty, or an overlay that adds
// the file importer. It returns the program and the name that go build gives it.
func (o *Options) compile(ctx context.Context, d Distribution, tmp string, ldflags []string, overlay string) (p *program, name string, err error) {
	flags := append([]string{fmt.Sprintf("-trimpath=%t", o.Trimpath), "-buildmode=exe"}, ldflags...)
	if o.Tags != "" {
		flags = append(flags, "-tags="+o.Tags)
	}
	if o.Verbose {
		flags = append(flags, "-v")
	}
	// The output is a folder, so that go gives the file the name of the program.
	bin, err := os.MkdirTemp(tmp, "bin-")
	if err != nil {
		return nil, "", err
	}
	packages := []string{o.Package}
	if overlay != "" {
		flags = append(flags, "-overlay="+overlay)
		if strings.HasSuffix(o.Package, ".go") { // a list of files must include the importer
			packages = append(packages, filepath.Join(filepath.Dir(o.Package), importer))
		}
	}
	var args []string
	remote := strings.Contains(o.Package, "@")
	if remote {
		args = append([]string{"install"}, flags...) // go build accepts no version
	} else {
		args = append([]string{"build", "-o", bin + string(filepath.Separator)}, flags...)
	}
	cmd := d.Command(ctx, append(append(args, "--"), packages...)...)
	cmd.Dir = o.Dir
	cmd.Env = append(cmd.Environ(), "GOBIN="+bin)
	// After an interrupt the go command removes its temporary files. If it is killed, it
	// cannot.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if o.Verbose && o.Stderr != nil {
		cmd.Stderr = io.MultiWriter(&stderr, o.Stderr)
	}
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		if !errors.As(err, &exit) {
			return nil, "", fmt.Errorf("go build: %w", err)
		}
		if strings.Contains(stderr.String(), "requires exactly one main package") {
			return nil, "", errNotMain
		}
		if err := o.needsCgo(ctx, d, stderr.String()); err != nil {
			return nil, "", err
		}
		return nil, "", &GoError{o.Package, stderr.String()}
	}
	files, err := os.ReadDir(bin)
	if err != nil {
		return nil, "", err
	}
	if len(files) != 1 {
		return nil, "", errNotMain
	}
	name = files[0].Name()
	data, err := os.ReadFile(filepath.Join(bin, name))
	if err != nil {
		return nil, "", err
	}
	if p, err = parseProgram(data); err != nil {
		return nil, "", fmt.Errorf("reading the linked program: %w", err)
	}
	return p, name, nil
}

// writeFile replaces path with an executable file in one step, so that a failed build keeps the
// old file.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	var about *os.PathError
	if errors.As(err, &about) {
		return fmt.Errorf("writing %s: %w", path, about.Err) // without the temporary file's name
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o755)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
