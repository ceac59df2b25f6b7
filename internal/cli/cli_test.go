package cli_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// pith is the built command.
var pith string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "pith-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	pith = filepath.Join(dir, "pith")
	if out, err := exec.Command("go", "build", "-o", pith, "../../cmd/pith").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v: %s", err, out)
		return 1
	}
	return m.Run()
}

// runPith runs pith in dir and gives its output and exit code.
func runPith(t *testing.T, dir string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(pith, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

var module = map[string]string{
	"go.mod":        "module example.com/m\n\ngo 1.25\n",
	"hello/main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	"lib/lib.go":    "package lib\n",
	"wrong/main.go": "package main\n\nfunc main() { undeclared() }\n",
	"cgo/main.go":   "package main\n\nimport \"C\"\n\nfunc main() {}\n",
	"text.pith":     "not an image\n",
}

func writeModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range module {
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

// Every mistake of a user gives the words of testdata/errors.golden.
func TestMistakesGiveOneLine(t *testing.T) {
	dir := writeModule(t)
	empty, old := t.TempDir(), t.TempDir()
	oldGo := `#!/bin/sh
echo '{"GOROOT":"/old","GOVERSION":"go1.24.1","GOHOSTOS":"linux","GOHOSTARCH":"amd64"}'
`
	if err := os.WriteFile(filepath.Join(old, "go"), []byte(oldGo), 0o755); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, test := range []struct {
		args string
		env  []string
	}{
		{args: "bild ./hello"},
		{args: "build"},
		{args: "build ./hello ./lib"},
		{args: "build --no-such-flag ./hello"},
		{args: "build ./lib"},
		{args: "build ./cgo"},
		{args: "build ./wrong"},
		{args: "build ./nowhere"},
		{args: "build --file nowhere ./hello"},
		{args: "build --file lib:etc ./hello"},
		{args: "build ./hello", env: []string{"PATH=" + empty}},
		{args: "build ./hello", env: []string{"PATH=" + old}},
		{args: "run"},
		{args: "run missing.pith"},
		{args: "run text.pith"},
		{args: "run go.mod"},
		{args: "run text.pith --tags x"},
		{args: "build ./hello -o nowhere/x"},
		{args: "run ./hello -p 80"},
		{args: "run ./hello -p 8080:80 -p 8081:80"},
		{args: "run ./hello --net none -p 8080:80"},
		{args: "run ./hello --net bridge"},
		{args: "run ./hello --net tap:"},
		{args: "run ./hello --monitor kvm --net tap:tap0 -p 8080:80"},
		{args: "run ./hello --net tap:tap0 --monitor process"},
		{args: "run ./hello --net-rate fast"},
		{args: "run ./hello --net none --net-rate 10M"},
		{args: "run ./hello --net host --net-rate 10M"},
		{args: "run ./hello --net host -p 8080:80"},
		{args: "run ./hello --net host --metadata"},
		{args: "run ./hello --net host --monitor process --user 0"},
		{args: "run ./hello --monitor process --user web"},
		{args: "run ./hello --net none --allow 10.0.0.0/8"},
		{args: "run ./hello --allow 10.0.2.0/33"},
		{args: "run ./hello --deny localhost:80"},
		{args: "run ./hello --disk missing.img"},
		{args: "run ./hello --disk lib"},
		{args: "run ./hello --disk /dev/null"},
		{args: "run ./hello --disk go.mod:ro --monitor process"},
		{args: "run ./hello --disk go.mod --disk-rate 0"},
		{args: "run ./hello --disk-iops 100"},
		{args: "run ./hello --vsock nowhere/socket"},
		{args: "run ./hello --vsock socket --monitor qemu"},
		{args: "run ./hello --vsock socket --gdb :1234"},
		{args: "run ./hello --hugepages --monitor process"},
		{args: "run ./hello --monitor kvm --hugepages --memory 65M"},
		{args: "run ./hello --cgroup /nowhere"},
		{args: "run ./hello --cgroup /tmp"},
		{args: "run ./hello --monitor xen"},
		{args: "run ./hello --machine pdp11"},
		{args: "run ./hello --accel xen"},
		{args: "run ./hello --gdb 1234"},
		{args: "run ./hello --monitor process --gdb :1234"},
		{args: "run ./hello -v nowhere:/data"},
		{args: "run ./hello -v go.mod:/data"},
		{args: "run ./hello -v lib:data"},
		{args: "run -v ./hello"},
		{args: "run ./hello -v lib:/data -v hello:/data/"},
		{args: "run ./hello --monitor qemu --memory 1M"},
		{args: "run ./hello --monitor process --memory 1M"},
		{args: "run ./hello --memory lots"},
		{args: "run ./hello --cpus 1000"},
		{args: "run ./hello --hostname a_b"},
		{args: "run ./hello --env-file nowhere"},
		{args: "run ./hello -e =x"},
		{args: "run ./hello -flag"},
		{args: "run ./hello argument"},
		{args: "inspect missing"},
		{args: "inspect text.pith"},
	} {
		stdout, stderr, code := runPith(t, dir, append(test.env, "GOFLAGS=-buildvcs=false"), strings.Fields(test.args)...)
		if stdout != "" {
			t.Errorf("pith %s: standard output: %s", test.args, stdout)
		}
		if strings.Contains(stderr, "goroutine ") {
			t.Errorf("pith %s: a stack trace:\n%s", test.args, stderr)
		}
		fmt.Fprintf(&got, "$ pith %s\n%sexit %d\n\n", test.args, strings.ReplaceAll(stderr, dir, "DIR"), code)
	}
	const golden = "testdata/errors.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("not as in %s (go test -update writes it):\n%s", golden, got.String())
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	for _, name := range []string{"", "build", "run", "inspect", "doctor", "version"} {
		out, _, code := runPith(t, "", nil, append(strings.Fields(name), "--help")...)
		if code != 0 || !strings.Contains(out, "Examples:\n  pith "+name) {
			t.Errorf("pith %s --help: exit %d:\n%s", name, code, out)
		}
	}
}

func TestVersionNamesTheBuildAndItsGo(t *testing.T) {
	out, _, code := runPith(t, "", nil, "version")
	if code != 0 || !regexp.MustCompile(`^pith (devel|v\d+\.\d+\.\d+\S*) \(.*go1\.\d+\S*\)\n$`).MatchString(out) {
		t.Errorf("exit %d: %q", code, out)
	}
}

func TestProgramHasItsArgumentsOutputAndExitCode(t *testing.T) {
	dir, tmp := writeModule(t), t.TempDir()
	main := `package main

import (
	"io"
	"os"
)

func main() {
	io.Copy(os.Stdout, os.Stdin)
	os.Stderr.WriteString(os.Args[1] + " " + os.Getenv("A") + "\n")
	if os.Args[1] == "panic" {
		panic("on purpose")
	}
	os.Exit(7)
}
`
	if err := os.WriteFile(filepath.Join(dir, "hello", "main.go"), []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		arg, stderr string
		code        int
	}{{"exit", "exit a\n", 7}, {"panic", "panic a\npanic: on purpose\n\ngoroutine 1 [running]:\nmain.main()\n", 2}} {
		cmd := exec.Command(pith, "run", "--monitor", "process", "./hello", "-e", "A=a", "--", test.arg)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+tmp)
		cmd.Stdin = strings.NewReader("input")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != test.code || stdout.String() != "input" || !strings.HasPrefix(stderr.String(), test.stderr) {
			t.Errorf("%v: exit %d, output %q, errors %q", err, code, &stdout, &stderr)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestExecRunsWhatHasNoSymbolTable(t *testing.T) {
	dir := writeModule(t)
	if out, errOut, code := runPith(t, dir, nil, "go", "build", "-ldflags=-s", "-o", "x", "./hello"); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	for _, monitor := range []string{"process", "qemu"} {
		t.Run(monitor, func(t *testing.T) {
			if _, err := exec.LookPath("qemu-system-x86_64"); monitor == "qemu" && err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip("QEMU is not installed: apt-get install qemu-system-x86")
			}
			if _, errOut, code := runPith(t, dir, nil, "exec", "--monitor", monitor, "x"); code != 0 || errOut != "hello\n" {
				t.Errorf("exit %d: %q", code, errOut)
			}
		})
	}
}

func TestPortInUseIsFoundBeforeTheProgramStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := writeModule(t)
	main := "package main\n\nimport \"net\"\n\nfunc main() { println(\"started\"); _, err := net.Listen(\"tcp\", \":80\"); println(err) }\n"
	if err := os.WriteFile(filepath.Join(dir, "hello", "main.go"), []byte(main), 0o644); err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, stderr, code := runPith(t, dir, nil, "run", "--monitor", "process", "./hello", "-p", addr+":80")
	if code != 125 || !strings.Contains(stderr, addr) || strings.Contains(stderr, "started") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
