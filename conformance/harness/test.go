package harness

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Timeout is how long a test waits for a program that should answer or end
// soon; it is generous because machines of CI are slow.
const Timeout = 30 * time.Second

// shared is the lab of this process's tests.
var shared *Lab

// Main runs a package's tests with a lab of their own: call it from TestMain.
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

// Each starts p on every selected monitor, one subtest each, and checks it.
// The program is ended after the check, if the check has not done so.
func Each(t *testing.T, p Program, check func(t *testing.T, i *Instance)) {
	for _, m := range Selected() {
		t.Run(m.Name, func(t *testing.T) { check(t, Start(t, m, p)) })
	}
}

// Serve is Each for a server: the check begins when the first of p.Ports
// accepts connections, and after it SIGINT must end the program with code.
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

// Start starts p on monitor m for the time of the test; what the program
// wrote is shown when the test fails. A test whose monitor is missing is
// skipped, except on CI, where it fails unless only the host can have it.
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

// Pith is the path of the pith command, for a test on monitor m, which is
// skipped as by Start.
func Pith(t *testing.T, m Monitor) string {
	t.Helper()
	require(t, m)
	pith, err := shared.Pith(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pith
}

// require skips a test whose monitor is missing, except on CI, where it fails
// for what CI installs.
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
