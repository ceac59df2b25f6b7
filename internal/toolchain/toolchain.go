// Package toolchain derives a Go distribution from the user's. Programs that it builds run
// on the library OS instead of on Linux. The derived distribution is a folder of links to
// the real GOROOT. A few files are edited, and the library OS is added as packages of the
// standard library. Package image builds with it.
package toolchain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Supported are the Go releases that Derive accepts.
var Supported = []string{"1.25", "1.26", "1.27"}

// Distribution is a derived Go distribution.
type Distribution struct {
	Root    string // its GOROOT
	Version string // version of the Go that it was derived from: go1.26.8
	Host    string // GOROOT of that Go
}

// errNoGo means that the host has no go command.
var errNoGo = errors.New("no go command in PATH: install Go " + supportedList() + " from https://go.dev/dl")

func supportedList() string {
	n := len(Supported)
	return strings.Join(Supported[:n-1], ", ") + " or " + Supported[n-1]
}

// host describes the user's go command: the output of go env in the folder of the build. The
// go command has already applied GOTOOLCHAIN and the toolchain line of go.mod.
type host struct {
	GOROOT, GOVERSION, GOMODCACHE, GOHOSTOS, GOHOSTARCH string
}

// Find describes the user's Go as seen from dir, without deriving anything.
func Find(ctx context.Context, dir string) (goroot, version string, err error) {
	h, err := find(ctx, dir)
	return h.GOROOT, h.GOVERSION, err
}

func find(ctx context.Context, dir string) (h host, err error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return h, errNoGo
	}
	if h, err = ask(ctx, tool, dir); err != nil {
		return h, err
	}
	if isFolder(filepath.Join(h.GOROOT, "src", "pith")) {
		// The user's GOROOT is itself a derived distribution. This is so if pith is a
		// child of that distribution's go command.
		pkg, err := filepath.EvalSymlinks(filepath.Join(h.GOROOT, "pkg"))
		if err != nil {
			return h, fmt.Errorf("finding what %s was derived from: %w", h.GOROOT, err)
		}
		if h, err = ask(ctx, tool, dir, "GOROOT="+filepath.Dir(pkg)); err != nil {
			return h, err
		}
	}
	if h.GOHOSTOS != "linux" || h.GOHOSTARCH != runtime.GOARCH {
		return h, fmt.Errorf("this Go is for %s/%s: images are built on linux/%s, as pith is", h.GOHOSTOS, h.GOHOSTARCH, runtime.GOARCH)
	}
	for _, s := range Supported {
		if v := "go" + s; h.GOVERSION == v || strings.HasPrefix(h.GOVERSION, v+".") || strings.HasPrefix(h.GOVERSION, v+"rc") {
			return h, nil
		}
	}
	return h, fmt.Errorf("%s is not supported: use Go %s (for example GOTOOLCHAIN=go%s.0)",
		h.GOVERSION, supportedList(), Supported[len(Supported)-1])
}

// ask runs go env in dir with additional environment variables.
func ask(ctx context.Context, tool, dir string, env ...string) (h host, err error) {
	cmd := exec.CommandContext(ctx, tool, "env", "-json", "GOROOT", "GOVERSION", "GOMODCACHE", "GOHOSTOS", "GOHOSTARCH")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return h, fmt.Errorf("asking %s for its version: %w: %s", tool, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(out, &h); err != nil {
		return h, fmt.Errorf("reading the output of go env: %w", err)
	}
	return h, nil
}

// Derive makes the derived distribution for the go command that runs in dir, or finds it in
// the user's cache. It calls progress before a long step, unless progress is nil.
func Derive(ctx context.Context, dir string, progress func(string)) (*Distribution, error) {
	h, err := find(ctx, dir)
	if err != nil {
		return nil, err
	}
	files, err := deriveFiles(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("deriving a Go distribution from %s: %w", h.GOROOT, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("finding the user's cache folder: %w: set HOME or XDG_CACHE_HOME", err)
	}
	d := &Distribution{
		Root:    filepath.Join(cache, "pith", "go", h.GOVERSION+"-"+files.digest(h)),
		Version: h.GOVERSION,
		Host:    h.GOROOT,
	}
	now := time.Now()
	if err := os.Chtimes(d.Root, now, now); err == nil {
		return d, nil
	}
	if progress != nil {
		progress("deriving a Go distribution from " + h.GOVERSION)
	}
	if err := files.install(h.GOROOT, d.Root); err != nil {
		return nil, fmt.Errorf("deriving a Go distribution from %s: %w", h.GOROOT, err)
	}
	return d, prune(filepath.Dir(d.Root), now.Add(-unusedFor))
}

// unusedFor is how long an unused distribution stays in the cache. Each pair of a Go version
// and a Pith version has its own distribution.
const unusedFor = 30 * 24 * time.Hour

// prune removes the distributions in dir that were last used before t.
func prune(dir string, t time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(t) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("removing a Go distribution that is no longer used: %w", err)
			}
		}
	}
	return nil
}

// Command returns a run of the derived distribution's go command. It keeps the user's GOFLAGS,
// GOWORK and module settings.
func (d *Distribution) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := HostCommand(ctx, d.Host, args...)
	cmd.Env = append(cmd.Env, "GOROOT="+d.Root, "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	return cmd
}

// HostCommand returns a run of the go command in goroot, a distribution that was not
// derived. Programs that it builds run on this host.
func HostCommand(ctx context.Context, goroot string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(goroot, "bin", "go"), args...)
	cmd.Env = append(os.Environ(), "GOROOT="+goroot, "GOTOOLCHAIN=local")
	return cmd
}
