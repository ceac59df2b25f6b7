package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

var packageClause = regexp.MustCompile(`(?m)^package (\w+)`)

// part is a package of a program in a directory.
type part struct {
	name  string // from the package clause
	files []string
}

// buildFolder compiles the packages of a program's directory in the order of their
// files and links the last one, as cmd/internal/testdir does. Each package may
// import the earlier ones as test/FILE.
func (p *program) buildFolder(ctx context.Context, d *distribution, dir, binary string) error {
	folder := filepath.Join(d.root, programFolder, strings.TrimSuffix(p.file, ".go")+".dir")
	parts, err := p.parts(folder)
	if err != nil {
		return err
	}
	config, err := p.importcfg(d, parts, dir)
	if err != nil {
		return err
	}
	compilerFlags, linkerFlags := p.flags, []string(nil)
	for i, f := range p.flags {
		if f == "-ldflags" {
			compilerFlags, linkerFlags = p.flags[:i], p.flags[i+1:]
			break
		}
	}
	object := ""
	for i, pkg := range parts {
		object = filepath.Join(dir, archive(pkg))
		importPath := strings.TrimSuffix(archive(pkg), ".a")
		if pkg.name == "main" {
			importPath = "main"
		}
		args := []string{"tool", "compile", "-e", "-D", "test", "-importcfg=" + config, "-p=" + importPath, "-o", object}
		args = append(args, compilerFlags...)
		for _, f := range pkg.files {
			args = append(args, filepath.Join(folder, f))
		}
		if err := os.MkdirAll(filepath.Dir(object), 0o755); err != nil {
			return err
		}
		if _, err := output(d.command(ctx, args...)); err != nil {
			return fmt.Errorf("package %d of %d: %w", i+1, len(parts), err)
		}
	}
	args := []string{"tool", "link", "-buildid=test", "-o", binary, "-importcfg=" + config}
	_, err = output(d.command(ctx, append(append(args, linkerFlags...), object)...))
	return err
}

// archive returns the path of a package's object file below the work directory: its
// import path with a suffix.
func archive(pkg part) string {
	return path.Join("test", strings.TrimSuffix(pkg.files[0], ".go")) + ".a"
}

// parts returns the packages of a directory in the order of their first files.
func (p *program) parts(folder string) ([]part, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var parts []part
	index := make(map[string]int)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".go" {
			continue
		}
		source, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		clause := packageClause.FindSubmatch(source)
		if clause == nil {
			return nil, fmt.Errorf("%s has no package clause", e.Name())
		}
		name := string(clause[1])
		i, ok := index[name]
		if p.single || !ok {
			i = len(parts)
			index[name] = i
			parts = append(parts, part{name: name})
		}
		parts[i].files = append(parts[i].files, e.Name())
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%s has no Go files", folder)
	}
	return parts, nil
}

// importcfg writes the file that tells compiler and linker where packages are.
func (p *program) importcfg(d *distribution, parts []part, dir string) (string, error) {
	std, err := d.importcfg()
	if err != nil {
		return "", err
	}
	config, err := os.ReadFile(std)
	if err != nil {
		return "", err
	}
	for _, pkg := range parts {
		config = fmt.Appendf(config, "\npackagefile %s=%s", strings.TrimSuffix(archive(pkg), ".a"), filepath.Join(dir, archive(pkg)))
	}
	name := filepath.Join(dir, "importcfg")
	return name, os.WriteFile(name, append(config, '\n'), 0o644)
}
