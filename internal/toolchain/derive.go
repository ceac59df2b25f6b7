package toolchain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pith-os/pith"
)

// std has the files that are added to packages of the standard library.
//
//go:embed all:std
var std embed.FS

// tree is the difference to the real GOROOT: contents by slash-separated path below it.
// nil removes the file.
type tree map[string][]byte

// deriveFiles returns all files of the derived distribution that are not links.
func deriveFiles(ctx context.Context, h host) (tree, error) {
	t := tree{}
	if err := t.edit(h.GOROOT); err != nil {
		return nil, err
	}
	if err := t.settings(h.GOROOT); err != nil {
		return nil, err
	}
	if err := t.addStd(); err != nil {
		return nil, err
	}
	if err := t.addMachine(); err != nil {
		return nil, err
	}
	if err := t.addLibOS(); err != nil {
		return nil, err
	}
	vendored, err := gvisorFiles(func(module string) (string, error) { return download(ctx, h.GOMODCACHE, module) })
	if err != nil {
		return nil, err
	}
	for name, data := range vendored {
		t[path.Join("src", name)] = data
	}
	return t, nil
}

// settings edits go.env, which holds the defaults of `go env`. The edit is for users who call
// the distribution's go command directly: with GOTOOLCHAIN=auto, the go command would switch
// to another distribution.
func (t tree) settings(goroot string) error {
	const name = "go.env"
	data, err := os.ReadFile(filepath.Join(goroot, name))
	if err != nil {
		return err
	}
	var kept []string
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "GOTOOLCHAIN=") {
			kept = append(kept, line)
		}
	}
	t[name] = []byte(strings.Join(kept, "") + "GOTOOLCHAIN=local\nCGO_ENABLED=0\n")
	return nil
}

// addStd adds the files of std, which mirror GOROOT/src.
func (t tree) addStd() error {
	return fs.WalkDir(std, "std", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel := strings.TrimPrefix(name, "std/")
		data, err := std.ReadFile(name)
		t["src/"+rel] = unconstrain(data)
		return err
	})
}

// addMachine adds the nucleus and the thread layer to package runtime.
func (t tree) addMachine() error {
	for prefix, files := range map[string]embed.FS{"nucleus": pith.Nucleus, "vm": pith.VM} {
		entries, err := files.ReadDir(prefix)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if ext := path.Ext(e.Name()); ext != ".go" && ext != ".s" || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			data, err := files.ReadFile(prefix + "/" + e.Name())
			if err != nil {
				return err
			}
			t["src/runtime/pith_"+prefix+"_"+e.Name()] = unconstrain(data)
		}
	}
	data, err := pith.LibOS.ReadFile(callNumbers)
	t["src/runtime/pith_calls.go"] = bytes.Replace(unconstrain(data), []byte("package platform"), []byte("package runtime"), 1)
	return err
}

// callNumbers is the table of calls between the layers in a VM. Package runtime gets a copy.
const callNumbers = "libos/platform/calls.go"

const (
	moduleLibOS  = "github.com/pith-os/pith/libos"
	derivedLibOS = "pith/libos"
)

// addLibOS adds the library OS as standard packages pith/libos/...
func (t tree) addLibOS() error {
	return fs.WalkDir(pith.LibOS, "libos", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/testdata/") {
			return err
		}
		if !strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, ".s") {
			return nil
		}
		data, err := pith.LibOS.ReadFile(name)
		if err != nil || strings.HasPrefix(string(data), "//go:build !pith\n") {
			return err
		}
		s := strings.ReplaceAll(string(unconstrain(data)), `"`+moduleLibOS, `"`+derivedLibOS)
		t["src/pith/"+name] = []byte(s)
		return nil
	})
}

// unconstrain removes the build constraint that excludes a file from this module's own
// packages.
func unconstrain(data []byte) []byte {
	return []byte(strings.TrimPrefix(string(data), "//go:build pith\n"))
}

// digest returns a name for the distribution. The name is a hash of the distribution's files
// and of the GOROOT that it links to.
func (t tree) digest(h host) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %s\n", h.GOROOT, h.GOVERSION)
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(sum, "%s %d\n", name, len(t[name]))
		sum.Write(t[name])
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// install makes the distribution at root, completely or not at all. Another process may
// install the same distribution at the same time.
func (t tree) install(goroot, root string) error {
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(root), "tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := t.link(goroot, tmp, ""); err != nil {
		return err
	}
	err = os.Rename(tmp, root)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process has installed the same files first
	}
	return err
}

// link fills dst, the folder rel of the derived distribution. It makes real folders for
// changed files, the standard library and the go command, because the go command does not
// follow links to folders. Everything else becomes a link.
func (t tree) link(goroot, dst, rel string) error {
	changed := map[string]bool{} // names in this folder that are not links
	for name := range t {
		if rest, ok := strings.CutPrefix(name, rel); ok {
			first, _, _ := strings.Cut(rest, "/")
			changed[first] = true
		}
	}
	entries, err := os.ReadDir(filepath.Join(goroot, rel))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		name := rel + e.Name()
		switch {
		case changed[e.Name()]:
		case e.IsDir() && name != "src/cmd" && (name == "bin" || name == "src" || strings.HasPrefix(name, "src/")):
			changed[e.Name()] = true
		case e.IsDir():
			err = os.Symlink(filepath.Join(goroot, name), filepath.Join(dst, e.Name()))
		default:
			err = linkFile(filepath.Join(goroot, name), filepath.Join(dst, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	for name := range changed {
		if data, ok := t[rel+name]; ok {
			if data == nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dst, name), data, 0o644); err != nil {
				return err
			}
			continue
		}
		sub := filepath.Join(dst, name)
		if err := os.Mkdir(sub, 0o755); err != nil {
			return err
		}
		if err := t.link(goroot, sub, rel+name+"/"); err != nil {
			return err
		}
	}
	return nil
}

// linkFile makes dst a hard link to src. This fails if src is on another file system or
// belongs to another user. Then a Go source becomes a symbolic link, and any other file becomes
// a copy. The go command embeds only real files, and it finds its distribution by its own
// executable's path.
func linkFile(src, dst string) error {
	if os.Link(src, dst) == nil {
		return nil
	}
	switch filepath.Ext(src) {
	case ".go", ".s", ".h":
		return os.Symlink(src, dst)
	}
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, data, info.Mode().Perm())
}

// download returns the folder of a module in the module cache. It selects the version that
// Pith is built with, and checks the module's hash.
func download(ctx context.Context, cache, module string) (string, error) {
	version, err := required(module)
	if err != nil {
		return "", err
	}
	module += "@" + version
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", errNoGo
	}
	cmd := exec.CommandContext(ctx, tool, "mod", "download", "-json", module)
	cmd.Dir = os.TempDir() // outside any module
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
	out, err := cmd.Output()
	var m struct{ Sum, Error string }
	if jerr := json.Unmarshal(out, &m); jerr != nil && err == nil {
		err = jerr
	}
	// If the go command is older than the module requires, it downloads the module and
	// then reports an error. The error does not matter, because Pith edits the sources.
	if dir := filepath.Join(cache, filepath.FromSlash(module)); m.Sum != "" && isFolder(dir) {
		return dir, checkSum(module, m.Sum)
	}
	if m.Error != "" {
		err = errors.New(m.Error)
	}
	if err == nil {
		err = errors.New("the go command did not put it into " + cache)
	}
	return "", fmt.Errorf("downloading %s: %w", module, err)
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
