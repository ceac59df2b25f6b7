package image

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/toolchain"
)

var derivedModule = map[string]string{
	"go.mod":        "module example.com/m\n\ngo 1.25\n",
	"hello/main.go": "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n",
	"bare/main.go":  "package main\n\nfunc main() { println(\"bare\") }\n",
	"client/main.go": `package main

import "net/http"

func main() {
	_, err := http.Get("https://example.com/")
	println(err)
}
`,
	"raw/main.go": `package main

import "syscall"

func main() {
	_, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	println(err)
}
`,
	"web/main.go": `package main

import (
	"fmt"
	"net/http"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	panic(http.ListenAndServe(":8080", nil))
}
`,
}

func TestDerivedProgramsHoldOnlyWhatTheyReach(t *testing.T) {
	src := writeTree(t, derivedModule)
	for _, test := range []struct {
		pkg   string
		parts []string
		extra int64 // bytes that the image may add to the plain binary
		certs bool
	}{
		// docs/benchmarks.md has the exact figures. These limits only detect that
		// large code has become reachable.
		{"./bare", []string{}, 100_000, false},
		{"./hello", []string{"core"}, 1_500_000, false},
		{"./raw", []string{"core", "net"}, 6_500_000, false},
		{"./raw/main.go", []string{"core", "net"}, 6_500_000, false},
		{"./web", []string{"core", "net"}, 4_500_000, false},
		{"./client", []string{"core", "net"}, 4_500_000, true},
	} {
		t.Run(test.pkg, func(t *testing.T) {
			ctx := t.Context()
			d, err := toolchain.Derive(ctx, src, nil)
			if err != nil {
				t.Fatal(err)
			}
			plain := filepath.Join(t.TempDir(), "plain")
			cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", plain, test.pkg)
			cmd.Dir, cmd.Env = src, append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			r, err := Build(ctx, d, Options{Package: test.pkg, Dir: src, Output: filepath.Join(t.TempDir(), "x.pith"), Trimpath: true})
			if err != nil {
				t.Fatal(err)
			}
			img, err := Open(r.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			m := img.Manifest
			if !slices.Equal(m.Parts, test.parts) {
				t.Errorf("parts %v, want %v", m.Parts, test.parts)
			}
			if len(m.Traps) > 0 {
				t.Errorf("system call instructions outside the gate: %v", m.Traps)
			}
			if certs := m.Root.Files > 0; certs != test.certs {
				t.Errorf("root certificates: %t", certs)
			}
			before, err := os.Stat(plain)
			if err != nil {
				t.Fatal(err)
			}
			after, err := img.File().Stat()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("plain %d, image %d (%+d), root files %d", before.Size(), after.Size(), after.Size()-before.Size(), m.Root.Size)
			if after.Size()-before.Size() > test.extra {
				t.Errorf("the image adds %d bytes, more than %d", after.Size()-before.Size(), test.extra)
			}
		})
	}
}

func TestFinishTakesOnlyWhatTheDerivedGoLinked(t *testing.T) {
	src, dir := writeTree(t, derivedModule), t.TempDir()
	d, err := toolchain.Derive(t.Context(), src, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for name, dist := range map[string]Distribution{"derived": d, "plain": stock{}} {
		cmd := dist.Command(t.Context(), "build", "-ldflags=-s", "-o", file(name), "./hello")
		cmd.Dir = src
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, test := range []struct{ name, want string }{
		{"derived", ""},
		{"plain", ErrNotDerived.Error()},
		{"derived.pith", errOtherVersion.Error()},
	} {
		_, err := Finish(file(test.name), "", Options{Output: file(test.name + ".pith")})
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// The path of the derived distribution must not affect the image either.
func TestDerivedBuildsInTwoPlacesGiveTheSameBytes(t *testing.T) {
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(cache)))
	var images [2][]byte
	for i := range images {
		if i > 0 {
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
		}
		src := writeTree(t, derivedModule)
		d, err := toolchain.Derive(t.Context(), src, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Build(t.Context(), d, Options{Package: "./hello", Dir: src, Output: filepath.Join(t.TempDir(), "x.pith"), Trimpath: true})
		if err != nil {
			t.Fatal(err)
		}
		if images[i], err = os.ReadFile(r.Path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("the images differ")
	}
}
