package toolchain

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestEditsNameDeclarations(t *testing.T) {
	s := &goSource{name: "x.go", data: []byte("package x\n\nimport (\n\t\"os\"\n\t\"sync\"\n)\n\n// a is gone.\nfunc a() { os.Exit(1) }\n\nfunc b() {}\n\nvar mu sync.Mutex\n")}
	if err := s.remove("a"); err != nil {
		t.Fatal(err)
	}
	if err := s.rename("b", "c"); err != nil {
		t.Fatal(err)
	}
	if err := s.tidy(); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(string(s.data)), " ")
	if want := `package x import ( "sync" ) func c() {} var mu sync.Mutex`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := s.remove("a"); err == nil {
		t.Error("removing what is not there: no error")
	}
}

// tested is the version of each release that the test below uses. For the release of the host's
// own Go, the test uses that Go.
var tested = map[string]string{"1.25": "go1.25.5", "1.26": "go1.26.8", "1.27": "go1.27.2"}

// TestEverySupportedReleaseBuilds derives from one toolchain of each release
// and builds a program that reaches package net with it.
func TestEverySupportedReleaseBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the standard library once for each release")
	}
	local, err := find(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range Supported {
		t.Run(release, func(t *testing.T) {
			if !strings.HasPrefix(local.GOVERSION, "go"+release) {
				t.Setenv("GOTOOLCHAIN", tested[release])
				if out, err := exec.Command("go", "version").CombinedOutput(); err != nil {
					t.Skipf("no Go %s on this host, and it cannot be downloaded: %s", release, out)
				}
			}
			dir := t.TempDir()
			write(t, filepath.Join(dir, "go.mod"), "module example\n\ngo 1.25\n")
			write(t, filepath.Join(dir, "main.go"), "package main\n\nimport \"net\"\n\nfunc main() { _, err := net.Dial(\"tcp\", \"\"); println(err.Error()) }\n")
			d, err := Derive(context.Background(), dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			cmd := d.Command(t.Context(), "build", "-o", "example", ".")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			out, err := exec.Command(filepath.Join(dir, "example")).CombinedOutput()
			if code := err.(*exec.ExitError).ExitCode(); code != 125 || !strings.Contains(string(out), "pith run") {
				t.Errorf("run without a monitor, the image exits with %d and writes %q", code, out)
			}
		})
	}
}

func write(t *testing.T, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUnusedDistributionsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"old": 2 * unusedFor, "new": time.Hour} {
		write(t, filepath.Join(dir, name), "")
		if err := os.Chtimes(filepath.Join(dir, name), now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(dir, now.Add(-unusedFor)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 || filepath.Base(left[0]) != "new" {
		t.Errorf("left: %v", left)
	}
}

// TestCommonCallsAreInTheTableFromTheStart compares the edits of package syscall with the
// packages in libos/sys. A call that pithCall makes must not be in a list Rest, because only
// sys.Everything registers those lists. The exception is calls on files that only a call in
// Rest can make.
func TestCommonCallsAreInTheTableFromTheStart(t *testing.T) {
	h, err := find(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	files := tree{}
	if err := files.edit(h.GOROOT); err != nil {
		t.Fatal(err)
	}
	common := map[string]bool{}
	for _, data := range files {
		for _, m := range regexp.MustCompile(`pithCall6?\((?:syscall\.)?SYS_([A-Z0-9_]+)`).FindAllSubmatch(data, -1) {
			common[string(m[1])] = true
		}
	}
	if len(common) < 80 {
		t.Fatalf("only %d calls: %v", len(common), common)
	}
	needFile := regexp.MustCompile(`^(ACCEPT4|BIND|CONNECT|LISTEN|SHUTDOWN|GETPEERNAME|[GS]ETSOCKOPT|GETSOCKNAME|(SEND|RECV)(TO|FROM|MSG)|EPOLL_CTL|EPOLL_WAIT|INOTIFY_(ADD|RM)_WATCH)$`)
	sources, err := filepath.Glob("../../libos/sys/*/calls.go")
	if err != nil {
		t.Fatal(err)
	}
	rest := 0
	for _, name := range sources {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range regexp.MustCompile(`(?ms)^var Rest = .*?^\}$`).FindAll(data, -1) {
			for _, m := range regexp.MustCompile(`linux\.SYS_([A-Z0-9_]+)`).FindAllSubmatch(list, -1) {
				rest++
				if call := string(m[1]); common[call] && !needFile.MatchString(call) {
					t.Errorf("%s: only Everything registers %s, but package syscall makes the call without it", name, call)
				}
			}
		}
	}
	if rest < 100 {
		t.Errorf("only %d calls in the lists Rest", rest)
	}
}
