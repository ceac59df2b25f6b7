package calc

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var mode = flag.String("mode", "", "what TestMode does")

func TestMode(t *testing.T) {
	switch *mode {
	case "fail":
		t.Error("as asked for")
	case "exit":
		os.Exit(7)
	case "panic":
		panic("as asked for")
	case "hang":
		time.Sleep(time.Hour)
	case "skip":
		t.Skip("as asked for")
	}
}

func TestFiles(t *testing.T) {
	for _, name := range []string{"testdata/data.txt", "../root.txt", "calc.go"} {
		data, err := os.ReadFile(name)
		t.Logf("%s: %d bytes, %v", name, len(data), err)
	}
	dir, err := os.Getwd()
	t.Log(filepath.Base(dir), err)
	name := filepath.Join(t.TempDir(), "new")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
}

func TestUpdatesItsGoldenFile(t *testing.T) {
	if *mode == "update" {
		if err := os.WriteFile("testdata/golden.txt", []byte("new\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Log(os.Getenv("GOTEST_VARIABLE"), filepath.Base(os.Args[0]))
	if info, err := os.Stat(os.Getenv("HOME")); err != nil || !info.IsDir() {
		t.Error("no home:", err)
	}
}

func TestNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestParallel(t *testing.T) {
	t.Run("to others", func(t *testing.T) {
		t.Parallel()
	})
}

func TestNoOtherProgramIsStarted(t *testing.T) {
	if *mode == "exec" {
		t.Log(exec.Command(os.Args[0], "-test.run=^$").Run())
	}
}

func FuzzHalf(f *testing.F) {
	f.Add(4)
	f.Fuzz(func(t *testing.T, n int) { t.Log(Half(n)) })
}

func BenchmarkHalf(b *testing.B) {
	for b.Loop() {
		Half(b.N)
	}
}

func ExampleHalf() {
	fmt.Println(Half(10))
	// Output: 5
}
