package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Instance is a started program.
type Instance struct {
	Monitor Monitor

	cmd    *exec.Cmd
	hosts  map[string]string
	stdout output
	stderr output
	done   chan struct{} // closed when the program has ended
	err    error         // of Wait; valid once done is closed
}

// Start starts the program on monitor m. It may not answer yet: see Await.
// When ctx ends, the program is killed.
func (l *Lab) Start(ctx context.Context, m Monitor, p Program) (*Instance, error) {
	cmd, hosts, err := l.Command(ctx, m, p)
	if err != nil {
		return nil, err
	}
	i := &Instance{Monitor: m, cmd: cmd, hosts: hosts, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &i.stdout, &i.stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", p.Package, m.Name, err)
	}
	go func() {
		i.err = cmd.Wait()
		close(i.done)
	}()
	return i, nil
}

// Addr returns the host's address at which the published guest port answers.
func (i *Instance) Addr(guest string) string {
	return net.JoinHostPort("127.0.0.1", i.hosts[guest])
}

// PID returns the process id of the program or, for an image, of pith run.
func (i *Instance) PID() int { return i.cmd.Process.Pid }

// Stdout returns what the program has written to standard output so far.
func (i *Instance) Stdout() string { return i.stdout.String() }

// Stderr returns what the program has written to standard error so far.
func (i *Instance) Stderr() string { return i.stderr.String() }

// Signal sends a signal to the program or, for an image, to pith run.
func (i *Instance) Signal(s os.Signal) error { return i.cmd.Process.Signal(s) }

// errEnded says why Await gives up early: the program cannot answer any more.
var errEnded = errors.New("the program has ended")

// Await calls probe until it succeeds, the program ends or timeout passes.
func (i *Instance) Await(timeout time.Duration, probe func() error) error {
	deadline := time.After(timeout)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-i.done:
			return fmt.Errorf("%w: %w", errEnded, err)
		case <-deadline:
			return fmt.Errorf("no answer within %v: %w", timeout, err)
		case <-again.C:
		}
	}
}

// AwaitTCP waits until the published guest port accepts a connection.
func (i *Instance) AwaitTCP(timeout time.Duration, guest string) error {
	return i.Await(timeout, func() error {
		c, err := net.DialTimeout("tcp", i.Addr(guest), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Wait waits for the program's end and returns its exit code. A program that signal N
// has ended has 128+N, as in a shell and as pith run exits.
func (i *Instance) Wait(timeout time.Duration) (int, error) {
	select {
	case <-i.done:
	case <-time.After(timeout):
		return -1, fmt.Errorf("still running after %v", timeout)
	}
	var exit *exec.ExitError
	if i.err != nil && !errors.As(i.err, &exit) {
		return -1, i.err
	}
	state := i.cmd.ProcessState
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return state.ExitCode(), nil
}

// Stop sends sig and waits for the program's end.
func (i *Instance) Stop(sig os.Signal, timeout time.Duration) (int, error) {
	if err := i.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return -1, err
	}
	return i.Wait(timeout)
}

// Kill kills the program, if it has not ended.
func (i *Instance) Kill() error {
	if err := i.Signal(os.Kill); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-i.done
	return nil
}

// output collects what a program writes while others read it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
