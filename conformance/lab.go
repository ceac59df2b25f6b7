package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pith-os/pith/internal/toolchain"
)

// distribution is the user's Go distribution or the one derived from it.
type distribution struct {
	root    string
	command func(ctx context.Context, args ...string) *exec.Cmd

	importcfg func() (string, error) // a file with the paths of the standard library's archives
}

// lab has the tools that build and run tests.
type lab struct {
	dir       string // removed at the end
	version   string // go1.26.8
	plain     *distribution
	derived   *distribution
	pith      string // the pith command, built from this source tree
	pithSum   string
	test2json string
}

// newLab finds the Go distributions and builds pith.
func newLab(ctx context.Context) (*lab, error) {
	root, version, err := toolchain.Find(ctx, ".")
	if err != nil {
		return nil, err
	}
	d, err := toolchain.Derive(ctx, ".", func(what string) { fmt.Println(what) })
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pith-conformance-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, version: version, pith: filepath.Join(dir, "pith")}
	l.plain = l.plainDistribution(root)
	l.derived = l.distribution(d.Root, d.Command)
	if err := l.prepare(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// plainDistribution is the user's own Go.
func (l *lab) plainDistribution(root string) *distribution {
	return l.distribution(root, func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := toolchain.HostCommand(ctx, root, args...)
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
		return cmd
	})
}

// distribution returns a distribution whose commands ignore the user's settings.
func (l *lab) distribution(root string, command func(context.Context, ...string) *exec.Cmd) *distribution {
	d := &distribution{root: root}
	d.command = func(ctx context.Context, args ...string) *exec.Cmd {
		cmd := command(ctx, args...)
		cmd.Env = append(cmd.Env, "GOENV=off", "GOFLAGS=", "GOWORK=off")
		cmd.Dir = l.dir // outside all modules
		return cmd
	}
	d.importcfg = sync.OnceValues(func() (string, error) {
		const line = "{{if .Export}}packagefile {{.ImportPath}}={{.Export}}{{end}}"
		out, err := output(d.command(context.Background(), "list", "-export", "-f", line, "std"))
		if err != nil {
			return "", err
		}
		file := filepath.Join(l.dir, filepath.Base(root)+".importcfg")
		return file, os.WriteFile(file, out, 0o644)
	})
	return d
}

func (l *lab) prepare(ctx context.Context) error {
	// The sum depends on the sources alone: on no path and no revision.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", l.pith, "github.com/pith-os/pith/cmd/pith")
	build.Env = append(os.Environ(), "GOTOOLCHAIN=auto") // the tested release may be older than the one that pith needs
	if _, err := output(build); err != nil {
		return err
	}
	sum, err := fileSum(l.pith)
	if err != nil {
		return err
	}
	l.pithSum = sum
	tool, err := output(l.plain.command(ctx, "tool", "-n", "test2json"))
	l.test2json = strings.TrimSpace(string(tool))
	return err
}

func (l *lab) close() error { return os.RemoveAll(l.dir) }

// release returns the Go release: go1.26 for go1.26.8.
func (l *lab) release() string {
	parts := strings.SplitN(l.version, ".", 3)
	if len(parts) < 3 {
		return l.version
	}
	return parts[0] + "." + parts[1]
}

// on returns the distribution that builds binaries for monitor m.
func (l *lab) on(m monitor) *distribution {
	if m.image() {
		return l.derived
	}
	return l.plain
}

// buildTests links the test binary of a package into the directory dir. The binary
// has the package's name: tests see it as os.Args[0].
func (d *distribution) buildTests(ctx context.Context, dir, pkg string) (binary string, err error) {
	binary = filepath.Join(dir, path.Base(pkg)+".test")
	_, err = output(d.command(ctx, "test", "-c", "-vet=off", "-o", binary, pkg))
	return binary, err
}

// packages returns the packages of the standard library that have tests.
func (d *distribution) packages(ctx context.Context) ([]string, error) {
	out, err := output(d.command(ctx, "list", "-json=ImportPath,TestGoFiles,XTestGoFiles", "std"))
	if err != nil {
		return nil, err
	}
	var names []string
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath                string
			TestGoFiles, XTestGoFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return names, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the output of go list: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			names = append(names, p.ImportPath)
		}
	}
}

// output runs a command and returns its standard output. An error includes all
// that the command printed.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.String(), stderr.String())
	}
	return []byte(stdout.String()), nil
}

func fileSum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}
