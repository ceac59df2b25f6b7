package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestAProcessThatHangsIsToldToQuit(t *testing.T) {
	var out strings.Builder
	// The child keeps the output open until await ends it too.
	cmd := exec.Command("sh", "-c", `sleep 600 & trap 'echo told; exit 2' QUIT; wait`)
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	e, err := await(t.Context(), cmd, time.Second, time.Second)
	if err != nil || !e.quit || e.code != 2 || out.String() != "told\n" {
		t.Errorf("%+v, %v, output %q; want exit code 2 after SIGQUIT", e, err, out.String())
	}
}

func TestAProcessThatDoesNotQuitIsKilled(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap '' QUIT; while :; do sleep 1; done`)
	e, err := await(t.Context(), cmd, time.Second, time.Second)
	if err != nil || !e.quit || e.code != -1 {
		t.Errorf("%+v, %v; want an end by SIGKILL", e, err)
	}
}

func TestAnInterruptEndsTheRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := await(ctx, exec.Command("sleep", "600"), time.Hour, time.Hour)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Minute {
		t.Errorf("error %v after %v", err, time.Since(start))
	}
}

func TestExitCodesComeBack(t *testing.T) {
	e, err := await(t.Context(), exec.Command("sh", "-c", "exit 3"), time.Minute, time.Minute)
	if err != nil || e.quit || e.code != 3 {
		t.Errorf("%+v, %v; want exit code 3", e, err)
	}
}
