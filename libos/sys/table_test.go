package sys_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// entries calls visit with each entry of the lists Common and Rest in the
// subjects' files calls.go: the number's name, and the handler.
func entries(t *testing.T, visit func(where, list, num string, do ast.Expr)) {
	t.Helper()
	names, err := filepath.Glob("*/calls.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, name := range names {
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			v := g.Specs[0].(*ast.ValueSpec)
			for _, e := range v.Values[0].(*ast.CompositeLit).Elts {
				fields := e.(*ast.CompositeLit).Elts
				visit(fset.Position(e.Pos()).String(), v.Names[0].Name, fields[0].(*ast.SelectorExpr).Sel.Name, fields[1])
			}
		}
	}
}

func TestEachCallIsInOneListOnce(t *testing.T) {
	seen, count := map[string]string{}, map[string]int{}
	entries(t, func(where, list, num string, _ ast.Expr) {
		if first := seen[num]; first != "" {
			t.Errorf("%s: %s is at %s, too", where, num, first)
		}
		seen[num] = where
		count[list]++
	})
	if count["Common"] < 100 || count["Rest"] < 100 || len(count) != 2 {
		t.Errorf("lists: %v; want Common and Rest with more than 100 calls each", count)
	}
}

// TestListsAreStaticData holds the lists to what call.Entry says of them.
func TestListsAreStaticData(t *testing.T) {
	entries(t, func(where, _, num string, do ast.Expr) {
		switch do.(type) {
		case *ast.Ident, *ast.SelectorExpr, *ast.FuncLit:
		default:
			t.Errorf("%s: the handler of %s is neither a function's name nor a literal: every image would hold the whole list", where, num)
		}
	})
}
