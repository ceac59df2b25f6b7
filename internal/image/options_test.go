package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSymbolsAreLeftOutUnlessTheUserSaysOtherwise(t *testing.T) {
	const none = "none given"
	for _, test := range []struct{ ldflags, goflags, want string }{
		{none, "", "-ldflags=-s -w"},
		{none, "-mod=mod -v", "-ldflags=-s -w"},
		{none, "-tags=ldflags=x", "-ldflags=-s -w"},
		{none, "-ldflags=-w", ""},
		{none, "-v --ldflags=", ""},
		{none, "-v '-ldflags=-X a.b=c d'", ""},
		{"", "-ldflags=-s", "-ldflags="},
		{"-X 'a.b=c  d'", "", "-ldflags=-X 'a.b=c  d'"},
	} {
		o := Options{Ldflags: &test.ldflags}
		if test.ldflags == none {
			o.Ldflags = nil
		}
		if got := strings.Join(o.linkerFlags(test.goflags), " "); got != test.want {
			t.Errorf("--ldflags=%q GOFLAGS=%q: %q, want %q", test.ldflags, test.goflags, got, test.want)
		}
	}
}

func TestMappings(t *testing.T) {
	for in, want := range map[string]Mapping{
		"a:/b": {"a", "/b"}, "a:b:/c": {"a:b", "/c"}, "./d:/": {"./d", "/"},
		"a": {}, ":/b": {}, "a:": {}, "a:b": {},
	} {
		got, err := ParseMapping(in)
		if got != want && want != (Mapping{}) || (err == nil) != (want != Mapping{}) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestRootTree(t *testing.T) {
	src := writeTree(t, map[string]string{"f": "eff", "d/x": "ex", "d/sub/y": "why"})
	if err := os.Chmod(filepath.Join(src, "f"), 0o4710); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub/y", filepath.Join(src, "d", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d", filepath.Join(src, "alias")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		files []string // SRC:DST
		want  string   // mode and path of each entry; "": refused
	}{
		{"a file", []string{"f:/bin/tool"}, "drwxr-xr-x bin\n-rwxr-xr-x bin/tool\n"},
		{"a file into a folder", []string{"d/x:/a/"}, "drwxr-xr-x a\n-rw-r--r-- a/x\n"},
		{"a file into the root", []string{"d/x:/"}, "-rw-r--r-- x\n"},
		{"a folder", []string{"d:/s"}, "drwxr-xr-x s\nLrwxrwxrwx s/link\ndrwxr-xr-x s/sub\n-rw-r--r-- s/sub/y\n-rw-r--r-- s/x\n"},
		{"a link to a folder, into the root", []string{"alias:/"}, "Lrwxrwxrwx link\ndrwxr-xr-x sub\n-rw-r--r-- sub/y\n-rw-r--r-- x\n"},
		{"the later file wins", []string{"f:/x", "d/x:/x"}, "-rw-r--r-- x\n"},
		{"folders join", []string{"d/sub:/s", "f:/s/f"}, "drwxr-xr-x s\n-rwxr-xr-x s/f\n-rw-r--r-- s/y\n"},
		{"outside the root", []string{"f:/../../x"}, "-rwxr-xr-x x\n"},
		{"a file below a file", []string{"f:/x", "f:/x/y"}, ""},
		{"a file in place of a folder", []string{"d:/x", "f:/x"}, ""},
		{"a folder in place of a file", []string{"f:/x", "d:/x"}, ""},
		{"no such file", []string{"none:/x"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var files []Mapping
			for _, f := range test.files {
				m, err := ParseMapping(src + "/" + f)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, m)
			}
			root := tree{}
			for _, m := range files {
				if err := m.copyInto(root); err != nil {
					if test.want != "" {
						t.Fatal(err)
					}
					return
				}
			}
			var got []string
			for name, e := range root {
				got = append(got, name+"\x00"+e.mode.String())
			}
			slices.Sort(got)
			var list strings.Builder
			for _, line := range got {
				name, mode, _ := strings.Cut(line, "\x00")
				list.WriteString(mode + " " + name + "\n")
			}
			if list.String() != test.want {
				t.Errorf("\n%swant\n%s", list.String(), test.want)
			}
		})
	}
}
