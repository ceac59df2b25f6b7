package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// CgoError names a package that cannot be built without a C compiler.
type CgoError struct{ Package string }

func (e *CgoError) Error() string {
	return fmt.Sprintf("package %s needs cgo, which an image cannot have: use a package written in Go, or a build tag that leaves it out", e.Package)
}

// listed is the output of go list -json for a package.
type listed struct {
	ImportPath string
	Dir        string
	Standard   bool
	GoFiles    []string // files that do not import "C"
	CgoFiles   []string // files that import "C"
	Imports    []string
}

// needsCgo returns an error if a build failed because a package uses cgo. Without cgo the go
// command leaves out the files that need it. It then reports undefined names that those files
// declare, or a package without files.
func (o *Options) needsCgo(ctx context.Context, d Distribution, output string) error {
	if strings.Contains(o.Package, "@") {
		return nil // go list accepts no version
	}
	args := []string{"list", "-e", "-deps", "-json=ImportPath,Dir,Standard,GoFiles,CgoFiles,Imports"}
	if o.Tags != "" {
		args = append(args, "-tags="+o.Tags)
	}
	cmd := d.Command(ctx, append(args, "--", o.Package)...)
	cmd.Dir = o.Dir
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=1")
	out, err := cmd.Output()
	if err != nil {
		return nil // the build's own error explains more than this one
	}
	var pkgs []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("go list: %w", err)
		}
		pkgs = append(pkgs, p)
	}
	// go build prints a line "# import/path" before the errors of a package.
	failed := map[string]bool{}
	for line := range strings.Lines(output) {
		if path, ok := strings.CutPrefix(line, "# "); ok {
			failed[strings.TrimSpace(path)] = true
		}
	}
	for _, p := range pkgs {
		if p.Standard || len(p.CgoFiles) == 0 {
			continue
		}
		imported := slices.ContainsFunc(pkgs, func(q listed) bool {
			return failed[q.ImportPath] && slices.Contains(q.Imports, p.ImportPath)
		})
		empty := strings.Contains(output, "build constraints exclude all Go files in "+p.Dir)
		if empty || (failed[p.ImportPath] || imported) && strings.Contains(output, "undefined: ") {
			return &CgoError{p.ImportPath}
		}
	}
	return nil
}
