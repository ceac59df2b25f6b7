package image

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/version"
)

// stock is the Go distribution that runs the tests. It builds ordinary Linux programs, and their
// images run on Linux, too. So a test of post-linking can run them.
type stock struct{}

func (stock) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -modcacherw")
	return cmd
}

// The name of the test module gives its package the same path as the library OS in the derived
// distribution.
var probeModule = map[string]string{
	"go.mod": "module pith\n\ngo 1.25\n",
	"libos/image/image.go": `package image

var Root = [2]uintptr{0x6d6920687469709b, 0x746f6f522e656761}
`,
	"probe/main.go": `// Command probe prints its root files.
package main

import (
	"os"
	"unsafe"

	"pith/libos/image"
)

func main() {
	at := *(*unsafe.Pointer)(unsafe.Pointer(&image.Root[0]))
	os.Stdout.Write(unsafe.Slice((*byte)(at), image.Root[1]))
}
`,
	"bare/main.go":  "package main\n\nfunc main() {}\n",
	"lib/lib.go":    "package lib\n",
	"wrong/main.go": "package main\n\nfunc main() { undeclared() }\n",
	"cgo/c/c.go":    "package c\n\nimport \"C\"\n\nfunc F() {}\n",
	"cgo/c/g.go":    "package c\n\nfunc G() {}\n",
	"cgo/d/d.go":    "package d\n\nimport \"C\"\n\nfunc F() {}\n",
	"cgo/main.go":   "package main\n\nimport \"pith/cgo/c\"\n\nfunc main() { c.F() }\n",
	"cgo2/main.go":  "package main\n\nimport \"pith/cgo/d\"\n\nfunc main() { d.F() }\n",
	"zone/main.go": `package main

import (
	"crypto/x509"
	"time"

	"pith/libos/image"
)

func main() {
	_, err := time.LoadLocation("Europe/Berlin")
	_, err2 := x509.SystemCertPool()
	println(err, err2, image.Root[0])
}
`,
}

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t *testing.T, dir, pkg string, change func(*Options)) string {
	t.Helper()
	o := Options{Package: pkg, Dir: dir, Output: filepath.Join(t.TempDir(), "out.pith"), Trimpath: true}
	if change != nil {
		change(&o)
	}
	r, err := Build(context.Background(), stock{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r.Path
}

func TestImageRunsAndFindsItsRoot(t *testing.T) {
	src := writeTree(t, probeModule)
	files := writeTree(t, map[string]string{"b/c.txt": "see\n", "a.txt": "ay\n"})
	path := build(t, src, "./probe", func(o *Options) {
		o.Files = []Mapping{{files, "/srv"}, {filepath.Join(files, "a.txt"), "/etc/"}}
	})
	archive, err := exec.Command(path).Output()
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("cpio", "-itv")
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Log("cpio is not installed: the test checks only the names")
	} else {
		list.Stdin = bytes.NewReader(archive)
		out, err := list.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"etc", "etc/a.txt", "srv", "srv/a.txt", "srv/b", "srv/b/c.txt"} {
		if !bytes.Contains(archive, []byte(name+"\x00")) {
			t.Errorf("%s is not in the archive", name)
		}
	}
	img, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if m := img.Manifest; m.Package != "pith/probe" || m.Pith != version.Get().String() || m.Root.Files != 6 || m.Root.Size != int64(len(archive)) {
		t.Errorf("manifest: %+v", m)
	}
}

func TestSymbolsAreKeptOnlyWhenLdflagsAreGiven(t *testing.T) {
	src := writeTree(t, probeModule)
	for _, test := range []struct {
		name, goflags  string
		ldflags        string
		symtab, dwarfs bool
	}{
		{"none", "", "-", false, false},
		{"empty", "", "", true, true},
		{"stripped", "", "-X pith/libos/image.x=y -s", false, false},
		{"no debugging information", "", "-w", true, false},
		{"compressed", "", "-compressdwarf=true", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := build(t, src, "./probe", func(o *Options) {
				if test.ldflags != "-" {
					o.Ldflags = &test.ldflags
				}
			})
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got := f.Section(".symtab") != nil; got != test.symtab {
				t.Errorf("symbol table: %t, want %t", got, test.symtab)
			}
			d, err := f.DWARF()
			if got := err == nil && d.Reader() != nil && f.Section(".debug_info") != nil || f.Section(".zdebug_info") != nil; got != test.dwarfs {
				t.Errorf("debugging information: %t, want %t (%v)", got, test.dwarfs, err)
			}
			if out, err := exec.Command(path).CombinedOutput(); err != nil {
				t.Errorf("does not run: %v: %s", err, out)
			}
		})
	}
}

func TestBuildsInTwoPlacesGiveTheSameBytes(t *testing.T) {
	var images [2][]byte
	for i := range images {
		src := writeTree(t, probeModule)
		b, err := os.ReadFile(build(t, src, "./zone", nil))
		if err != nil {
			t.Fatal(err)
		}
		images[i] = b
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("the images differ")
	}
}

func TestRootHasWhatTheProgramCanReach(t *testing.T) {
	src := writeTree(t, probeModule)
	own := writeTree(t, map[string]string{"own.crt": "mine"})
	for _, test := range []struct {
		pkg          string
		certs, zones bool
	}{{"./probe", false, false}, {"./zone", true, true}} {
		b, err := os.ReadFile(build(t, src, test.pkg, func(o *Options) {
			if test.certs {
				o.Files = []Mapping{{filepath.Join(own, "own.crt"), "/" + rootsFile}}
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b, []byte(rootsFile+"\x00")); got != test.certs {
			t.Errorf("%s: certificates: %t", test.pkg, got)
		}
		if bytes.Contains(b, []byte("BEGIN CERTIFICATE")) {
			t.Errorf("%s: the user's own certificates did not replace Mozilla's", test.pkg)
		}
		if got := bytes.Contains(b, []byte(zoneinfoDir+"/Europe/Berlin\x00")); got != test.zones {
			t.Errorf("%s: time zones: %t", test.pkg, got)
		}
	}
}

func TestWhatCannotBeBuilt(t *testing.T) {
	src := writeTree(t, probeModule)
	for _, test := range []struct{ pkg, want string }{
		{"./lib", "not a program"},
		{"./bare", "not linked by pith's Go"},
		{"./cgo", "package pith/cgo/c needs cgo"},
		{"./cgo2", "package pith/cgo/d needs cgo"},
		{"./cgo/...", "exactly one package main"},
	} {
		dir := t.TempDir()
		_, err := Build(context.Background(), stock{}, Options{Package: test.pkg, Dir: src, Output: filepath.Join(dir, "x"), Trimpath: true})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.pkg, err, test.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v %v", test.pkg, left, err)
		}
	}
	_, err := Build(context.Background(), stock{}, Options{Package: "./wrong", Dir: src, Output: filepath.Join(t.TempDir(), "x")})
	var ge *GoError
	if !errors.As(err, &ge) || !strings.Contains(ge.Output, "undefined: undeclared") {
		t.Errorf("compile error: %v", err)
	}
}

func TestVariableToFillInIsNeverGuessed(t *testing.T) {
	files := maps.Clone(probeModule)
	files["probe/copy.go"] = "package main\n\nvar other = [3]uint64{1, 0x6d6920687469709b, 0x746f6f522e656761}\n\nfunc init() { println(&other) }\n"
	o := Options{Package: "./probe", Dir: writeTree(t, files), Output: filepath.Join(t.TempDir(), "x")}
	if _, err := Build(t.Context(), stock{}, o); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Error(err)
	}
}

func TestBuildsAsGoBuildDoes(t *testing.T) {
	main := `package main

import (
	_ "embed"

	"example.com/dep"
	"pith/libos/image"
)

//go:embed text
var text string

var linked string

func main() { println(text, dep.Name, tagged, linked, image.Root[1] > 0) }
`
	dep := map[string]string{"go.mod": "module example.com/dep\n\ngo 1.25\n", "dep.go": "package dep\n\nconst Name = \"dep\"\n"}
	files := map[string]string{
		"app/libos/image/image.go": probeModule["libos/image/image.go"],
		"app/main.go":              main,
		"app/text":                 "embedded",
		"app/on.go":                "//go:build special\n\npackage main\n\nconst tagged = true\n",
		"app/off.go":               "//go:build !special\n\npackage main\n\nconst tagged = false\n",
		"app/other_windows.go":     "package main\n\nthis is not compiled\n",
	}
	const require = "module pith\n\ngo 1.25\n\nrequire example.com/dep v1.0.0\n"
	for name, layout := range map[string]map[string]string{
		"go.work": {
			"go.work": "go 1.25\n\nuse (\n\t./app\n\t./dep\n)\n", "app/go.mod": "module pith\n\ngo 1.25\n",
			"dep/go.mod": dep["go.mod"], "dep/dep.go": dep["dep.go"],
		},
		"vendor": {
			"app/go.mod": require, "app/vendor/example.com/dep/dep.go": dep["dep.go"],
			"app/vendor/modules.txt": "# example.com/dep v1.0.0\n## explicit; go 1.25\nexample.com/dep\n",
		},
		"replace": {
			"app/go.mod": require + "\nreplace example.com/dep => ../dep\n",
			"dep/go.mod": dep["go.mod"], "dep/dep.go": dep["dep.go"],
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := maps.Clone(files)
			maps.Copy(all, layout)
			ldflags := "-X main.linked=linked"
			path := build(t, filepath.Join(writeTree(t, all), "app"), ".", func(o *Options) { o.Tags, o.Ldflags = "special", &ldflags })
			out, err := exec.Command(path).CombinedOutput()
			if want := "embedded dep true linked true\n"; err != nil || string(out) != want {
				t.Errorf("%v: %q, want %q", err, out, want)
			}
		})
	}
}

// The test's module proxy is a folder with one version of one module.
func TestVersionedPackagesAreBuiltOutsideAnyModule(t *testing.T) {
	const mod, version = "example.com/m", "v1.2.3"
	files := map[string]string{"go.mod": "module " + mod + "\n\ngo 1.25\n", "cmd/tool/main.go": "package main\n\nfunc main() {}\n"}
	var content bytes.Buffer
	z := zip.NewWriter(&content)
	for name, data := range files {
		w, err := z.Create(mod + "@" + version + "/" + name)
		if err == nil {
			_, err = io.WriteString(w, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	proxy := writeTree(t, map[string]string{
		mod + "/@v/list":                 version + "\n",
		mod + "/@v/" + version + ".info": `{"Version":"` + version + `"}`,
		mod + "/@v/" + version + ".mod":  files["go.mod"],
		mod + "/@v/" + version + ".zip":  content.String(),
	})
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GONOSUMDB", "*")
	t.Setenv("GOMODCACHE", t.TempDir())
	o := Options{Package: mod + "/cmd/tool@latest", Dir: t.TempDir(), Trimpath: true}
	p, name, err := o.compile(t.Context(), stock{}, t.TempDir(), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.manifest()
	if err != nil {
		t.Fatal(err)
	}
	if name != "tool" || m.Package != mod+"/cmd/tool" || len(m.Modules) != 1 || m.Modules[0].Version != version {
		t.Errorf("%s: %+v", name, m)
	}
}

func TestCertificatesComeWithVerification(t *testing.T) {
	for _, test := range []struct {
		name, imports, body string
		want                bool
	}{
		{"none", `"net"`, `net.Listen("tcp", ":1")`, false},
		{"HTTP server", `"net/http"`, `http.ListenAndServe(":1", nil)`, false},
		{"HTTPS server", `"net/http"`, `http.ListenAndServeTLS(":1", "", "", nil)`, true},
		{"HTTP client", `"net/http"`, `http.Get("https://x/")`, true},
		{"HTTP transport", `"net/http"`, `http.DefaultTransport.RoundTrip(nil)`, true},
		{"proxy", `"net/http"; "net/http/httputil"`, `http.ListenAndServe(":1", &httputil.ReverseProxy{})`, true},
		{"TLS client", `"crypto/tls"`, `tls.Dial("tcp", "x", nil)`, true},
		{"QUIC", `"crypto/tls"`, `tls.QUICClient(nil).Start(nil)`, true},
		{"verification", `"crypto/x509"`, `new(x509.Certificate).Verify(x509.VerifyOptions{})`, true},
		{"method value", `"crypto/x509"; "os"`, `f := new(x509.Certificate).Verify; if len(os.Args) > 1 { f = nil }; f(x509.VerifyOptions{})`, true},
		{"method expression", `"crypto/x509"`, `f = (*x509.Certificate).Verify; f(nil, x509.VerifyOptions{}) }; var f func(*x509.Certificate, x509.VerifyOptions) ([][]*x509.Certificate, error); func init() {`, true},
		{"interface", `"crypto/x509"; "os"`, `type v interface { Verify(x509.VerifyOptions) ([][]*x509.Certificate, error) }; var i v = &x509.Certificate{}; if len(os.Args) > 1 { i = nil }; i.Verify(x509.VerifyOptions{})`, true},
		{"pool", `"crypto/x509"`, `x509.SystemCertPool()`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			src := writeTree(t, map[string]string{
				"go.mod":  "module example.com/m\n\ngo 1.25\n",
				"main.go": "package main\n\nimport (" + test.imports + ")\n\nfunc main() { " + test.body + " }\n",
			})
			o := Options{Package: ".", Dir: src, Trimpath: true}
			p, _, err := o.compile(t.Context(), stock{}, t.TempDir(), nil, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := p.verifiesPeers(); got != test.want {
				t.Errorf("%t", got)
			}
		})
	}
}

func TestDamagedImagesAreRefused(t *testing.T) {
	path := build(t, writeTree(t, probeModule), "./probe", nil)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	for _, test := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"empty", func(b []byte) []byte { return nil }, ErrNotImage},
		{"text", func(b []byte) []byte { return []byte("#!/bin/sh\n") }, ErrNotImage},
		{"header only", func(b []byte) []byte { return b[:32] }, ErrTruncated},
		{"half", func(b []byte) []byte { return b[:len(b)/2] }, ErrTruncated},
		{"last byte missing", func(b []byte) []byte { return b[:len(b)-1] }, ErrAltered},
		{"longer", func(b []byte) []byte { return append(b, 0) }, ErrAltered},
		{"code", flip(0x2000), ErrAltered},
		{"entry point", flip(0x18), ErrAltered},
		{"last byte", flip(len(whole) - 1), ErrAltered},
		{"manifest", flip(bytes.Index(whole, []byte(`"format"`)) + 3), ErrAltered},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "x.pith")
			if err := os.WriteFile(name, test.change(bytes.Clone(whole)), 0o755); err != nil {
				t.Fatal(err)
			}
			img, err := Open(name)
			if err == nil {
				img.Close()
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}
