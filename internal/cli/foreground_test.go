package cli_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/monitor"

	"golang.org/x/sys/unix"
)

// waiting is a program that ignores SIGINT, and ends with 3 at the end of its
// input.
const waiting = `package main

import (
	"io"
	"os"
	"os/signal"
)

func main() {
	signal.Ignore(os.Interrupt)
	println("ready")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(3)
}
`

// onEachMonitor runs a test with pith run of the program waiting on each monitor
// that runs here. It runs already. end closes its input.
func onEachMonitor(t *testing.T, test func(t *testing.T, cmd *exec.Cmd, end func())) {
	dir := writeModule(t)
	if err := os.WriteFile(filepath.Join(dir, "hello", "main.go"), []byte(waiting), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := runPith(t, dir, nil, "build", "./hello", "-o", "image"); code != 0 {
		t.Fatal(stderr)
	}
	for _, m := range monitor.All() {
		t.Run(m.Describe().Name, func(t *testing.T) {
			if _, err := m.Ready(t.Context()); err != nil {
				t.Skip(err)
			}
			cmd := exec.Command(pith, "run", "--monitor", m.Describe().Name, "image")
			cmd.Dir = dir
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if cmd.ProcessState == nil {
					_ = cmd.Process.Kill()
					_ = cmd.Wait() // killed
				}
			})
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			test(t, cmd, func() {
				if err := in.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestSecondInterruptKills(t *testing.T) {
	onEachMonitor(t, func(t *testing.T, cmd *exec.Cmd, _ func()) {
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		again := time.NewTicker(50 * time.Millisecond) // two that are pending at once are one
		defer again.Stop()
		for interrupts := 0; ; {
			select {
			case err := <-ended:
				if code := cmd.ProcessState.ExitCode(); code != 128+int(unix.SIGKILL) || interrupts < 2 {
					t.Errorf("%v after %d interrupts", err, interrupts)
				}
				return
			case <-again.C:
				interrupts++
				if err := cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
			}
		}
	})
}

// state is a process's, of proc_pid_stat(5).
func state(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return after[:1]
}

// child is the one child of a process.
func child(t *testing.T, pid int) (child int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tasks {
		list, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		if _, err := fmt.Sscan(string(list), &child); err == nil {
			return child
		}
	}
	t.Fatal("pith run has no child")
	return 0
}

func TestTerminalStopStopsBoth(t *testing.T) {
	onEachMonitor(t, func(t *testing.T, cmd *exec.Cmd, end func()) {
		pids := []int{cmd.Process.Pid, child(t, cmd.Process.Pid)}
		for range 2 {
			for _, step := range []struct {
				sig     os.Signal
				stopped bool
			}{{unix.SIGTSTP, true}, {unix.SIGCONT, false}} {
				if err := cmd.Process.Signal(step.sig); err != nil {
					t.Fatal(err)
				}
				for _, pid := range pids {
					for deadline := time.Now().Add(20 * time.Second); (state(t, pid) == "T") != step.stopped; time.Sleep(time.Millisecond) {
						if time.Now().After(deadline) {
							t.Fatalf("process %d does not heed %v", pid, step.sig)
						}
					}
				}
			}
		}
		end()
		err := cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 3 {
			t.Errorf("ended with %v", err)
		}
	})
}
