package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// listed is what go list -json tells of a package.
type listed struct {
	ImportPath, Dir, Name string
	GoFiles, SFiles       []string
	ImportMap             map[string]string
	Module                *struct{ Main bool }
}

// list runs go list for arm64 in dir: packages after those that they import.
func list(t *testing.T, dir string, env []string, args ...string) []*listed {
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-deps", "-json=ImportPath,Dir,Name,GoFiles,SFiles,ImportMap,Module"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0", "GOFLAGS="), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var all []*listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(listed)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(p.ImportPath, ".test") { // made by go test
			all = append(all, p)
		}
	}
}

// checker type-checks packages from their sources. Packages with errors are
// imported too: go build would not look at what stands on them.
type checker struct {
	fset     *token.FileSet
	packages map[string]*types.Package
	files    map[string]*ast.File
	missing  map[string]bool // lines of the list
	errors   []string        // what else is wrong
}

func newChecker() *checker {
	return &checker{fset: token.NewFileSet(), files: map[string]*ast.File{}, packages: map[string]*types.Package{}, missing: map[string]bool{}}
}

type importer func(path string) (*types.Package, error)

func (f importer) Import(path string) (*types.Package, error) { return f(path) }

// check checks p. Bodies and errors matter if it is one of ours.
func (c *checker) check(p *listed, ours bool) {
	if p.ImportPath == "unsafe" {
		c.packages[p.ImportPath] = types.Unsafe
		return
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(c.fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			c.errors = append(c.errors, err.Error())
			continue
		}
		c.files[c.fset.Position(f.Package).Filename] = f
		files = append(files, f)
		if ours && len(p.SFiles) == 0 {
			c.bodies(f)
		}
	}
	path, _, _ := strings.Cut(p.ImportPath, " ")
	conf := types.Config{
		IgnoreFuncBodies: !ours,
		Sizes:            types.SizesFor("gc", "arm64"),
		Error: func(err error) {
			if ours {
				c.report(path, err.(types.Error))
			}
		},
		Importer: importer(func(path string) (*types.Package, error) {
			if mapped := p.ImportMap[path]; mapped != "" {
				path = mapped
			}
			if q := c.packages[path]; q != nil {
				return q, nil
			}
			return nil, fmt.Errorf("go list did not name package %s", path)
		}),
	}
	pkg, _ := conf.Check(path, c.fset, files, nil) // its errors went to conf.Error
	c.packages[p.ImportPath] = pkg
}

// bodies finds functions without a body in a package without assembly, which the
// compiler refuses.
func (c *checker) bodies(f *ast.File) {
	linked := map[string]bool{}
	for _, group := range f.Comments {
		for _, comment := range group.List {
			if rest, ok := strings.CutPrefix(comment.Text, "//go:linkname "); ok {
				linked[strings.Fields(rest)[0]] = true
			}
		}
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body == nil && !linked[fn.Name.Name] {
			c.errors = append(c.errors, fmt.Sprintf("%v: %s has no body for arm64: declare it in a file with the suffix _amd64", c.fset.Position(fn.Pos()), fn.Name.Name))
		}
	}
}

var (
	undefined = regexp.MustCompile(`^undefined: (?:(\w+)\.)?(\w+)$`)
	noLength  = regexp.MustCompile(`^undefined array length (\w+) `)
	noMember  = regexp.MustCompile(`undefined \(type \*?"?([\w/.-]+)"?\.(\w+) has no field or method (\w+)\)`)
	noOwn     = regexp.MustCompile(`undefined \(type \*?(\w+) has no field or method (\w+)\)`)
)

// report takes an error of package path: a name that is missing, in it or in another
// package of ours, or something else.
func (c *checker) report(path string, err types.Error) {
	pos := c.fset.Position(err.Pos)
	name := ""
	if m := undefined.FindStringSubmatch(err.Msg); m != nil {
		name = m[2]
		if m[1] != "" {
			path = c.imported(pos.Filename, m[1])
		}
	} else if m := noLength.FindStringSubmatch(err.Msg); m != nil {
		name = m[1]
	} else if m := noOwn.FindStringSubmatch(err.Msg); m != nil {
		name = m[1] + "." + m[2]
	} else if m := noMember.FindStringSubmatch(err.Msg); m != nil {
		path, name = c.imported(pos.Filename, m[1]), m[2]+"."+m[3]
	}
	path = strings.TrimSuffix(path, "_test")
	short, own := strings.CutPrefix(path, module)
	if !own {
		short, own = strings.CutPrefix(path, "pith/")
	}
	if name == "" || !own && !(strings.HasPrefix(filepath.Base(pos.Filename), "pith") && (path == "runtime" || path == "syscall")) {
		c.errors = append(c.errors, fmt.Sprintf("%v: %s", pos, err.Msg))
		return
	}
	c.missing[short+" "+name] = true
}

// imported is the path of the package that a file calls by a name.
func (c *checker) imported(file, name string) string {
	for _, spec := range c.files[file].Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err == nil && (spec.Name != nil && spec.Name.Name == name || spec.Name == nil && (path == name || strings.HasSuffix(path, "/"+name))) {
			return path
		}
	}
	return name
}
