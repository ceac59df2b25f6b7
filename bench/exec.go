package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// mainFigure: from a program's first instruction to main. The benchmark traces the
// command (ptrace(2)) until its last exec. That exec starts the plain binary, or
// the image. The new program then stands still before its first instruction. The
// start is the wall clock just before the tracer lets the program go, untraced
// from then on. The end is the wall clock that main reads first and prints.
var mainFigure = figure{
	name:    "main",
	what:    "image's first instruction to main(), against the plain binary's",
	goal:    "at most 3 times",
	measure: measureMain,
}

func measureMain(b *bench) ([]line, error) {
	all, err := b.alternateToMain(b.contestants("pith", "plain"))
	if err != nil {
		return nil, err
	}
	l := newLine("", "us", all)
	l.compare("plain", func(r float64) bool { return r <= 3 })
	return []line{l}, nil
}

// alternateToMain measures the time to main in microseconds.
func (b *bench) alternateToMain(contestants []harness.Monitor) ([]samples, error) {
	program := harness.Program{Package: "./bench/programs/clock"}
	execs := make(map[string]int)
	return b.often().alternate(contestants, func(m harness.Monitor) (float64, error) {
		if execs[m.Name] == 0 {
			// Monitors differ in how many programs they start one after the other:
			// count them once.
			_, n, err := b.firstToMain(m, program, 0)
			if err != nil {
				return 0, err
			}
			execs[m.Name] = n
		}
		took, _, err := b.firstToMain(m, program, execs[m.Name])
		return float64(took.Nanoseconds()) / 1000, err
	})
}

// firstToMain runs the clock program, traced until the exec with the number last.
// A virtual machine is traced on, until its CPU starts. With last 0, firstToMain
// traces to the end and counts the execs.
func (b *bench) firstToMain(m harness.Monitor, p harness.Program, last int) (took time.Duration, execs int, err error) {
	cmd, _, err := b.lab.Command(b.ctx, m, p)
	if err != nil {
		return 0, 0, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	defer out.Close()
	cmd.Stdout = in
	cmd.Stdin = nil // then no goroutine serves it
	type outcome struct {
		start time.Time
		execs int
		err   error
	}
	traced := make(chan outcome)
	go func() {
		// The tracer is a thread (ptrace(2)). This one ends with the goroutine.
		runtime.LockOSThread()
		start, execs, err := trace(cmd, last, m.Name == kvmMonitor)
		in.Close()
		traced <- outcome{start, execs, err}
	}()
	text, readErr := bufio.NewReader(out).ReadString('\n')
	o := <-traced
	if err := errors.Join(o.err, readErr); err != nil {
		return 0, 0, fmt.Errorf("the program printed %q: %w", text, err)
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err == nil && last > 0 && o.start.IsZero() {
		err = errors.New("the tracer saw no start of the program")
	}
	return time.Unix(0, ns).Sub(o.start), o.execs, err
}

// follow are the events to stop at: an exec, and whatever makes a new task, so
// that the tracer follows it too.
const follow = syscall.PTRACE_O_TRACEEXEC | syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACECLONE |
	syscall.PTRACE_O_TRACESYSGOOD

// wall is __WALL of wait(2): wait for threads too.
const wall = 0x40000000

// callStop is the signal of a stop at a system call (PTRACE_O_TRACESYSGOOD).
const callStop = syscall.SIGTRAP | 0x80

// trace starts cmd and lets all its tasks run from stop to stop. At the exec with
// the number last it notes the time and lets every task go. When machine is set, it
// does so at the system call after that exec that enters a guest.
func trace(cmd *exec.Cmd, last int, machine bool) (start time.Time, execs int, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return start, 0, err
	}
	leader := cmd.Process.Pid
	defer func() {
		if err != nil {
			err = errors.Join(err, cmd.Process.Kill())
		}
	}()
	tasks := map[int]bool{leader: true} // known tasks
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, wall, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return start, execs, fmt.Errorf("wait for traced tasks: %w", err)
		}
		if !status.Stopped() {
			delete(tasks, pid)
			if pid == leader {
				if code := status.ExitStatus(); code != 0 {
					return start, execs, fmt.Errorf("exit status %d", code)
				}
				return start, execs, nil
			}
			continue
		}
		if execs == 0 { // PTRACE_TRACEME stops the first exec
			execs++
			if err := syscall.PtraceSetOptions(pid, follow); err != nil {
				return start, execs, fmt.Errorf("ptrace options: %w", err)
			}
		}
		if status.TrapCause() == syscall.PTRACE_EVENT_EXEC {
			execs++
		}
		next := untilEvent
		if last > 0 && execs >= last && start.IsZero() {
			there := !machine
			if machine {
				next = untilCall
				if there, err = entersGuest(pid, status); err != nil {
					return start, execs, err
				}
			}
			if there {
				start = time.Now()
			}
		}
		if !start.IsZero() {
			next = untraced
		}
		if err := resume(pid, status, tasks, next); err != nil {
			return start, execs, err
		}
	}
}

// How far a task runs.
const (
	untilEvent = iota // to an event of follow
	untilCall         // to an event or a system call
	untraced
)

// resume lets a stopped task run on. If a signal stopped the task, it gets that
// signal.
func resume(pid int, status syscall.WaitStatus, tasks map[int]bool, next int) error {
	signal := int(status.StopSignal())
	if signal == int(syscall.SIGTRAP) || signal == int(callStop) || (signal == int(syscall.SIGSTOP) && !tasks[pid]) {
		signal = 0 // the tracing stopped it, not a signal
	}
	tasks[pid] = true
	var err error
	switch next {
	case untilEvent:
		err = syscall.PtraceCont(pid, signal)
	case untilCall:
		err = syscall.PtraceSyscall(pid, signal)
	case untraced:
		err = detach(pid, signal)
	}
	if err != nil && err != syscall.ESRCH { // ESRCH: it was killed meanwhile
		return fmt.Errorf("resume task %d: %w", pid, err)
	}
	return nil
}

// detach is PTRACE_DETACH with a signal. syscall.PtraceDetach takes no signal.
func detach(pid, signal int) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_DETACH, uintptr(pid), 0, uintptr(signal), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
