package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/instance"
)

func TestQEMUIsPlacedInTheCgroup(t *testing.T) {
	needQEMU(t)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup2" && !strings.HasSuffix(f[1], "/pids") {
			continue
		}
		t.Run(f[2], func(t *testing.T) {
			name := filepath.Join(f[1], fmt.Sprintf("pith-test-%d", os.Getpid()))
			if err := os.Mkdir(name, 0o755); err != nil {
				t.Skipf("no cgroup can be made: %v", err)
			}
			defer within(t, "the cgroup is left", func() bool { return os.Remove(name) == nil })
			c, _ := config(t, hang(t), Microvm)
			c.Cgroup = name
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				if _, err := instance.Run(ctx, c); err != nil {
					t.Error(err)
				}
			}()
			within(t, "QEMU is not in the cgroup", func() bool { return hasQEMU(t, name) })
			cancel()
			<-ended
		})
	}
}

// within waits for a condition. If it does not hold in time, the test fails with otherwise.
func within(t *testing.T, otherwise string, condition func() bool) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Error(otherwise)
}

// hasQEMU reports whether a QEMU is in the cgroup name.
func hasQEMU(t *testing.T, name string) bool {
	pids, err := os.ReadFile(filepath.Join(name, "cgroup.procs"))
	if err != nil {
		t.Error(err)
		return true
	}
	for _, pid := range strings.Fields(string(pids)) {
		// The process may have ended.
		comm, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err == nil && strings.HasPrefix(string(comm), "qemu") {
			return true
		}
	}
	return false
}
