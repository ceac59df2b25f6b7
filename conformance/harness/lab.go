package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Lab is a directory where programs are built, once in each form, and run.
type Lab struct {
	dir string

	mu    sync.Mutex
	pith  string // the pith command, once built
	built map[string]result
}

// result is the result of a build. A failure is final, as a success is.
type result struct {
	path string
	err  error
}

// NewLab makes a lab below the system's temporary directory.
func NewLab() (*Lab, error) {
	dir, err := os.MkdirTemp("", "pith-lab-")
	if err != nil {
		return nil, err
	}
	return &Lab{dir: dir, built: make(map[string]result)}, nil
}

// Close removes the lab and all that it has built.
func (l *Lab) Close() error { return os.RemoveAll(l.dir) }

// Plain returns the path of the program that the go command has built, stripped and
// without cgo, as an image is.
func (l *Lab) Plain(ctx context.Context, p Program) (string, error) {
	return l.build(ctx, p, "plain", func(out string) ([]string, error) {
		return []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, p.Package}, nil
	})
}

// Image returns the path of the image that pith has built of the program.
func (l *Lab) Image(ctx context.Context, p Program) (string, error) {
	return l.build(ctx, p, "image", func(out string) ([]string, error) {
		pith, err := l.pithCommand(ctx)
		if err != nil {
			return nil, err
		}
		argv := []string{pith, "build", "-o", out}
		for _, dst := range slices.Sorted(maps.Keys(p.Files)) {
			argv = append(argv, "--file", p.Files[dst]+":"+dst)
		}
		return append(argv, p.Package), nil
	})
}

// Pith returns the path of the pith command, built from this source tree.
func (l *Lab) Pith(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pithCommand(ctx)
}

func (l *Lab) pithCommand(ctx context.Context) (string, error) {
	if l.pith != "" {
		return l.pith, nil
	}
	// Pith is built in its own module, so that the module of another's tests
	// does not choose the versions of its dependencies.
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/pith-os/pith").Output()
	if err != nil {
		return "", fmt.Errorf("find pith's module: %w", err)
	}
	out := filepath.Join(l.dir, "pith")
	if err := command(ctx, strings.TrimSpace(string(root)), "go", "build", "-o", out, "./cmd/pith"); err != nil {
		return "", err
	}
	l.pith = out
	return out, nil
}

func (l *Lab) build(ctx context.Context, p Program, form string, argv func(out string) ([]string, error)) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := fmt.Sprint(form, p.Dir, p.Package, p.Files)
	if r, ok := l.built[key]; ok {
		return r.path, r.err
	}
	sum := sha256.Sum256([]byte(key))
	out := filepath.Join(l.dir, filepath.Base(p.Package)+"."+hex.EncodeToString(sum[:4])+"."+form)
	args, err := argv(out)
	if err == nil {
		err = command(ctx, p.Dir, args...)
	}
	l.built[key] = result{out, err}
	return out, err
}

// command runs argv in dir. An error has the command's output.
func command(ctx context.Context, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
