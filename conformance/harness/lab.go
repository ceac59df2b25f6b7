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

// Lab is a directory in which programs are built, each once for each form,
// and run.
type Lab struct {
	dir string

	mu    sync.Mutex
	pith  string // the pith command, once built
	built map[string]result
}

// result is what a build came to; a failure is as final as a success.
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

// Close removes the lab and all that was built.
func (l *Lab) Close() error { return os.RemoveAll(l.dir) }

// Plain is the path of the program built by the go command, stripped and
// without cgo, as an image is.
func (l *Lab) Plain(ctx context.Context, p Program) (string, error) {
	return l.build(ctx, p, "plain", func(out string) ([]string, error) {
		return []string{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, p.Package}, nil
	})
}

// Image is the path of the program built by pith.
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

// Pith is the path of the pith command, built from this source tree.
func (l *Lab) Pith(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pithCommand(ctx)
}

func (l *Lab) pithCommand(ctx context.Context) (string, error) {
	if l.pith != "" {
		return l.pith, nil
	}
	// Another module's tests must not choose the versions of pith's modules:
	// it is built in its own.
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

// command runs argv in dir; its output is in the error, if any.
func command(ctx context.Context, dir string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
