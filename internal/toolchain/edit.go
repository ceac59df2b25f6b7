package toolchain

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// goSource is a Go file that is being edited. Edits name declarations and not lines, so
// that they work across Go releases. A missing name is an error.
type goSource struct {
	name string
	data []byte
}

// decl finds the function with the given name, which is not a method. It also returns the byte
// range of the function's declaration, including its comment.
func (s *goSource) decl(name string) (fn *ast.FuncDecl, start, end int, err error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, s.name, s.data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, 0, 0, err
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || fn.Name.Name != name {
			continue
		}
		start := fn.Pos()
		if fn.Doc != nil {
			start = fn.Doc.Pos()
		}
		return fn, fset.Position(start).Offset, fset.Position(fn.End()).Offset, nil
	}
	return nil, 0, 0, fmt.Errorf("%s has no function %s", s.name, name)
}

// remove removes functions. The added files define them.
func (s *goSource) remove(names ...string) error {
	for _, name := range names {
		_, start, end, err := s.decl(name)
		if err != nil {
			return err
		}
		s.data = slices.Delete(s.data, start, end)
	}
	return nil
}

// rename renames a function in its declaration only. An added file defines a function with
// the old name, which can call the renamed function.
func (s *goSource) rename(name, to string) error {
	fn, start, _, err := s.decl(name)
	if err != nil {
		return err
	}
	at := bytes.Index(s.data[start:], []byte("func "+fn.Name.Name+"("))
	if at < 0 {
		return fmt.Errorf("%s: function %s is not written as expected", s.name, name)
	}
	at += start + len("func ")
	s.data = slices.Replace(s.data, at, at+len(name), []byte(to)...)
	return nil
}

// replace changes text that must occur exactly once.
func (s *goSource) replace(old, new string) error {
	if n := strings.Count(string(s.data), old); n != 1 {
		return fmt.Errorf("%s has %q %d times, not once", s.name, old, n)
	}
	s.data = []byte(strings.Replace(string(s.data), old, new, 1))
	return nil
}

// tidy removes imports that edits have left unused.
func (s *goSource) tidy() error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, s.name, s.data, parser.ParseComments)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok {
				used[id.Name] = true
			}
		}
		return true
	})
	for _, spec := range slices.Backward(f.Imports) {
		p := strings.Trim(spec.Path.Value, `"`)
		name := p[strings.LastIndex(p, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "_" || used[name] {
			continue
		}
		start, end := fset.Position(spec.Pos()).Offset, fset.Position(spec.End()).Offset
		if p == "unsafe" && bytes.Contains(s.data, []byte("\n//go:linkname ")) {
			s.data = slices.Insert(s.data, start, []byte("_ ")...) // go:linkname needs the import
			continue
		}
		s.data = slices.Delete(s.data, start, end)
	}
	return nil
}
