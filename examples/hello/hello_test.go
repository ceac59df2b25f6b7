package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func TestHello(t *testing.T) {
	want := regexp.MustCompile(`^Hello from go1\.\d+\S* on \d+ CPUs\n$`)
	harness.Each(t, harness.Program{Package: "."}, func(t *testing.T, i *harness.Instance) {
		code, err := i.Wait(harness.Timeout)
		if err != nil || code != 0 {
			t.Fatalf("exit code %d, %v", code, err)
		}
		if !want.MatchString(i.Stdout()) {
			t.Errorf("stdout is %q", i.Stdout())
		}
	})
}
