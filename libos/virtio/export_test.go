package virtio

import "testing"

// CaptureReports gives the lines that go to the console.
func CaptureReports(t testing.TB) <-chan string {
	lines := make(chan string, 16)
	old := report
	report = func(line string) { lines <- line }
	t.Cleanup(func() { report = old })
	return lines
}
