package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// An image has TCP/IP if the program imports package net. A program may also make sockets only
// with package syscall or golang.org/x/sys/unix. It needs TCP/IP too, but its imports do not show
// that. So Build builds such a program again, with a file in package main that imports net. Only
// the go command sees that file.

// opensSockets reports whether the program can make sockets without package net.
func (p *program) opensSockets() bool {
	return !p.hasPackage("pith/libos/inet") && (p.has("syscall.socket") || p.has("golang.org/x/sys/unix.socket"))
}

// importer is the file that imports net.
const importer = "pith_import_net.go"

// netOverlay writes a file for go build's -overlay that adds importer, and returns its name.
// The name is empty for a program in the module cache, where the go command allows no
// overlay.
func (o *Options) netOverlay(ctx context.Context, d Distribution, tmp, modcache string) (string, error) {
	if strings.Contains(o.Package, "@") {
		return "", nil
	}
	cmd := d.Command(ctx, "list", "-f", "{{.Dir}}", "--", o.Package)
	cmd.Dir = o.Dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list %s: %w", o.Package, err)
	}
	dir := strings.TrimSuffix(string(out), "\n")
	if rel, err := filepath.Rel(modcache, dir); err == nil && filepath.IsLocal(rel) {
		return "", nil
	}
	source := filepath.Join(tmp, importer)
	if err := os.WriteFile(source, []byte("package main\n\nimport _ \"net\"\n"), 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(dir, importer): source}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(tmp, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}
