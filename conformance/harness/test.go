package harness

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Timeout is how long a test waits for a program that should answer or end soon. Only a hang
// is to reach it: on some hosts a program takes 25 seconds alone, and more beside other load.
const Timeout = 90 * time.Second

// shared is the lab of this process's tests.
var shared *Lab

// Main runs a package's tests with a lab of their own. TestMain calls it.
func Main(m *testing.M) int {
	lab, err := NewLab()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = lab
	code := m.Run()
	if err := lab.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Each starts p on every selected monitor, in a subtest, and checks it. After the
// check it kills the program, if that has not ended.
func Each(t *testing.T, p Program, check func(t *testing.T, i *Instance)) {
	for _, m := range Selected() {
		t.Run(m.Name, func(t *testing.T) { check(t, Start(t, m, p)) })
	}
}

// Serve is Each for a server. The check begins when the first of p.Ports accepts
// connections. After the check, SIGINT must end the program with code.
func Serve(t *testing.T, p Program, code int, check func(t *testing.T, i *Instance)) {
	Each(t, p, func(t *testing.T, i *Instance) {
		if err := i.AwaitTCP(Timeout, p.Ports[0]); err != nil {
			t.Fatal(err)
		}
		check(t, i)
		got, err := i.Stop(os.Interrupt, Timeout)
		if err != nil {
			t.Fatalf("SIGINT: %v", err)
		}
		if got != code {
			t.Errorf("exit code %d after SIGINT, want %d", got, code)
		}
	})
}

// Start starts p on monitor m for the time of the test. It shows the program's output
// if the test fails. It skips a test whose monitor is missing. On CI such a test
// fails, unless nobody can install what the monitor needs.
func Start(t *testing.T, m Monitor, p Program) *Instance {
	t.Helper()
	require(t, m)
	i, err := shared.Start(t.Context(), m, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", i.Stdout(), i.Stderr())
		}
	})
	return i
}

// Pith returns the path of the pith command, for a test on monitor m. It skips the test
// as Start does.
func Pith(t *testing.T, m Monitor) string {
	t.Helper()
	require(t, m)
	pith, err := shared.Pith(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pith
}

// require skips a test whose monitor is missing. On CI the test fails if the monitor
// could be installed.
func require(t *testing.T, m Monitor) {
	t.Helper()
	err := m.Missing()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true" && !m.ofHost:
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}
