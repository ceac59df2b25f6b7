package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits beyond -test.timeout, at which a test binary ends itself.
const (
	quitAfter = 30 * time.Second // until SIGQUIT, at which Go prints its goroutines
	killAfter = 20 * time.Second // from then until SIGKILL
)

// runner runs units and keeps their records.
type runner struct {
	*lab
	store      store
	exclusions exclusions
	timeout    time.Duration
	jobs       int
	resume     bool

	mu   sync.Mutex // guards the fields below
	out  io.Writer
	left int // runs to do
}

// run is a unit on a monitor.
type run struct {
	unit
	on monitor
}

// runAll runs each unit on each monitor. failed reports whether anything failed in
// an image that passes on plain Linux.
func (r *runner) runAll(ctx context.Context, units []unit, on []monitor) (failed bool, err error) {
	var todo [][]run // by unit, which is built once
	passed := 0
	for _, u := range units {
		var runs []run
		for _, m := range on {
			done, err := r.done(u, m)
			if err != nil {
				return false, err
			}
			if done {
				passed++
				continue
			}
			runs = append(runs, run{u, m})
			r.left++
		}
		if len(runs) > 0 {
			todo = append(todo, runs)
		}
	}
	fmt.Fprintf(r.out, "%d runs; %d passed before; logs: %s\n", r.left, passed, r.store.dir)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan []run)
	var workers sync.WaitGroup
	for range r.jobs {
		workers.Go(func() {
			for runs := range queue {
				good, err := r.runUnit(ctx, runs)
				if err != nil {
					cancel(err)
				}
				r.mu.Lock()
				failed = failed || !good
				r.mu.Unlock()
			}
		})
	}
feed:
	for _, runs := range todo {
		select {
		case queue <- runs:
		case <-ctx.Done():
			break feed
		}
	}
	close(queue)
	workers.Wait()
	return failed, context.Cause(ctx)
}

// done reports whether --resume leaves a run out.
func (r *runner) done(u unit, m monitor) (bool, error) {
	if !r.resume {
		return false, nil
	}
	rec, err := r.store.load(m.name, u.name)
	return rec != nil && rec.whole() && rec.Key == r.key(u, m), err
}

// key identifies a binary and what runs it: two runs with one key are the same. The
// name of the derived distribution's directory has a digest of its contents. So key
// tells a changed binary without linking it.
func (r *runner) key(u unit, m monitor) string {
	if !m.image() {
		return digest(u.name, m.name, r.version)
	}
	return digest(u.name, m.name, filepath.Base(r.derived.root), r.pithSum, r.exclusions.of(u.name).skip())
}

// runUnit builds a unit, for images and for Linux as needed, and runs it on each
// monitor, the plain one first. good reports whether no run tells against Pith.
func (r *runner) runUnit(ctx context.Context, runs []run) (good bool, err error) {
	dir, err := os.MkdirTemp(r.dir, "unit-")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	type built struct {
		binary string
		err    error
	}
	binaries := make(map[*distribution]built)
	good = true
	for _, x := range runs {
		d := r.on(x.on)
		b, ok := binaries[d]
		if !ok {
			b.binary, b.err = x.build(ctx, d, filepath.Join(dir, strconv.Itoa(len(binaries))))
			binaries[d] = b
		}
		rec := &record{
			Unit: x.name, Monitor: x.on.name, Key: r.key(x.unit, x.on),
			When: time.Now().UTC().Truncate(time.Second), Log: r.store.path(x.on.name, x.name, ".log"),
		}
		if b.err != nil {
			rec.Ended, rec.Output = endedBuild, lastLines(strings.Split(b.err.Error(), "\n"), crashLines)
		} else if err := r.runOne(ctx, x, b.binary, rec); err != nil {
			return false, fmt.Errorf("%s on %s: %w", x.name, x.on.name, err)
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err := r.store.save(rec); err != nil {
			return false, err
		}
		r.report(rec)
		ok, err := r.good(x.on, rec)
		if err != nil {
			return false, err
		}
		good = good && ok
	}
	return good, nil
}

// good reports whether all tests of a record passed, or fail on plain Linux here
// too.
func (r *runner) good(m monitor, rec *record) (bool, error) {
	if rec.whole() || !m.image() {
		return true, nil
	}
	baseline, err := r.store.load(plain, rec.Unit)
	if err != nil {
		return false, err
	}
	o := rec.outcome(baseline)
	return o.onlyPlain(), nil
}

// build links a unit's binary in the directory dir.
func (u unit) build(ctx context.Context, d *distribution, dir string) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if u.program != nil {
		return u.program.build(ctx, d, dir)
	}
	return d.buildTests(ctx, dir, u.name)
}

// runOne runs a binary and completes its record.
func (r *runner) runOne(ctx context.Context, x run, binary string, rec *record) (err error) {
	if rec.Binary, err = fileSum(binary); err != nil {
		return err
	}
	var excluded exclusions
	if x.on.image() { // the baseline excludes nothing
		excluded = r.exclusions.of(x.name)
	}
	rec.Excluded = len(excluded)
	log, err := r.store.log(x.on.name, x.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	start := time.Now()
	defer func() { rec.Seconds = time.Since(start).Round(10 * time.Millisecond).Seconds() }()
	if x.program != nil {
		if len(excluded) > 0 {
			rec.Ended = endedOK
			return nil
		}
		return r.runProgram(ctx, x, binary, rec, log)
	}
	if err := excluded.found(binary); err != nil {
		return err
	}
	args := r.testArgs(x.on)
	if len(excluded) > 0 {
		args = append(args, "-test.skip="+excluded.skip())
	}
	res, end, err := r.runTests(ctx, x, binary, args, log)
	if err != nil {
		return err
	}
	rec.Passed, rec.Skips, rec.Failures = res.passed, res.skipped, res.failures()
	rec.Skipped = len(rec.Skips)
	rec.Failed = len(rec.Failures)
	rec.ExitCode = end.code
	switch {
	case end.quit || slices.ContainsFunc(res.last, func(l string) bool { return strings.HasPrefix(l, "panic: test timed out") }):
		rec.Ended = endedTimeout
	case end.code == 0 && res.complete && len(res.failed) == 0:
		rec.Ended = endedOK
	case end.code == 1 && res.complete && len(res.failed) > 0:
		rec.Ended = endedFailed
	default:
		rec.Ended = endedCrash
	}
	if rec.Ended == endedCrash || rec.Ended == endedTimeout {
		rec.Output = res.last
	}
	return nil
}

// testArgs returns the arguments that go test -short gives a test binary.
func (r *runner) testArgs(m monitor) []string {
	return []string{
		"-test.v=test2json", "-test.short", "-test.paniconexit0",
		"-test.timeout=" + r.limit(m).String(),
	}
}

// limit returns how long a package's tests may take on a monitor.
func (r *runner) limit(m monitor) time.Duration { return r.timeout * time.Duration(m.scale) }

// runTests runs a test binary in its package's directory.
func (r *runner) runTests(ctx context.Context, x run, binary string, args []string, log io.Writer) (res *results, e end, err error) {
	convert := exec.CommandContext(ctx, r.test2json)
	convert.Stderr = os.Stderr
	convert.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := convert.StdinPipe()
	if err != nil {
		return nil, e, err
	}
	events, err := convert.StdoutPipe()
	if err != nil {
		return nil, e, err
	}
	if err := convert.Start(); err != nil {
		return nil, e, err
	}
	var readErr error
	read := make(chan struct{})
	go func() {
		defer close(read)
		res, readErr = readEvents(events, log)
	}()
	cmd := r.command(x.on, filepath.Join(r.plain.root, "src", filepath.FromSlash(x.name)), binary, args)
	cmd.Stdout, cmd.Stderr = in, in
	e, err = await(ctx, cmd, r.limit(x.on)+quitAfter*time.Duration(x.on.scale), killAfter)
	err = errors.Join(err, in.Close())
	<-read
	return res, e, errors.Join(err, readErr, convert.Wait())
}

// command returns the command that runs a binary in a directory. Its environment
// leaves out variables in which hosts differ. Tests that read Go's sources see
// those of the distribution in use.
func (r *runner) command(m monitor, dir, binary string, args []string) *exec.Cmd {
	argv := append([]string{binary}, args...)
	if m.image() {
		argv = append(append([]string{r.pith, "exec"}, m.flags...), argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	root := r.plain.root
	cmd.Env = []string{
		"PATH=" + filepath.Join(root, "bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + os.Getenv("HOME"),
		"GOROOT=" + root,
		"PWD=" + dir,
	}
	if m.scale > 1 {
		cmd.Env = append(cmd.Env, "GO_TEST_TIMEOUT_SCALE="+strconv.Itoa(m.scale))
	}
	return cmd
}

// end describes how a process ended.
type end struct {
	code int  // -1: it died by a signal
	quit bool // it had to be told to quit
}

// await runs a command for at most limit. Then it sends SIGQUIT, at which a Go
// program prints its goroutines, and later SIGKILL. At the end it kills all
// processes that the command left behind.
func await(ctx context.Context, cmd *exec.Cmd, limit, after time.Duration) (e end, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = after
	if err := cmd.Start(); err != nil {
		return e, err
	}
	group := -cmd.Process.Pid
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	kill := func() { // no process left is no error
		if killErr := syscall.Kill(group, syscall.SIGKILL); !errors.Is(killErr, syscall.ESRCH) {
			err = errors.Join(err, killErr)
		}
	}
	defer kill()
	quit := time.NewTimer(limit)
	defer quit.Stop()
	var waitErr error
	select {
	case waitErr = <-done:
	case <-ctx.Done():
		kill()
		<-done
		return e, ctx.Err()
	case <-quit.C:
		e.quit = true
		if err := cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return e, err
		}
		select {
		case waitErr = <-done:
		case <-time.After(after):
			kill()
			waitErr = <-done
		}
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) && !errors.Is(waitErr, exec.ErrWaitDelay) {
		return e, waitErr
	}
	e.code = cmd.ProcessState.ExitCode()
	return e, nil
}

// report prints a line about a run.
func (r *runner) report(rec *record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left--
	verdict, what := "ok  ", fmt.Sprintf("%d passed, %d skipped, %d excluded", rec.Passed, rec.Skipped, rec.Excluded)
	if !rec.whole() {
		verdict = "FAIL"
		what = fmt.Sprintf("%s; %d passed, %d failed: %s", rec.Ended, rec.Passed, rec.Failed, rec.names(5))
	}
	fmt.Fprintf(r.out, "%s %-32s %-8s %7.2fs  %s (%d left)\n", verdict, rec.Unit, rec.Monitor, rec.Seconds, what, r.left)
}

// names returns the first failures in one line.
func (r *record) names(most int) string {
	var names []string
	for _, f := range r.Failures {
		names = append(names, f.Test)
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}
