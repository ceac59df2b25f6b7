package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Program is QEMU's name.
const Program = "qemu-system-x86_64"

// Install says how to get QEMU.
const Install = "install it: apt-get install qemu-system-x86 (Debian, Ubuntu), dnf install qemu-system-x86-core (Fedora), " +
	"apk add qemu-system-x86_64 (Alpine), pacman -S qemu-system-x86 (Arch)"

// ErrMissing is that QEMU is not there.
var ErrMissing = errors.New(Program + " is not in PATH: " + Install)

func find() (string, error) {
	program, err := exec.LookPath(Program)
	if errors.Is(err, exec.ErrNotFound) {
		return "", ErrMissing
	}
	return program, err
}

// machine is a running QEMU.
type machine struct {
	process
	streams      streams
	control      guest.Control
	debugControl *os.File
	words        words
	link         link.Link         // of the network device, if there is one
	front        *vhostuser.Server // what QEMU connects to for it, or nil
}

// start starts QEMU.
func start(ctx context.Context, program, accel string, c *monitor.Config) (*machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var q command
	vm := &machine{control: guest.NewControl()}
	err := q.compose(vm, accel, c)
	if err == nil {
		if vm.process, vm.words, err = run(program, q.args, q.files, c.Limits.Cgroup); err != nil {
			err = fmt.Errorf("start QEMU: %w", err)
		}
	}
	if err != nil {
		q.abandon()
		if vm.link != nil { // nobody serves it
			err = errors.Join(err, vm.link.Close())
		}
		return nil, errors.Join(err, vm.unplug())
	}
	q.close()
	return vm, nil
}

// unplug ends the network device, once QEMU has ended.
func (vm *machine) unplug() error {
	if vm.front == nil {
		return nil
	}
	return vm.front.Close()
}

// signal sends the program a signal; those that stop, continue and kill are
// for QEMU, which knows nothing of what goes on inside.
func (vm *machine) signal(sig unix.Signal) {
	switch sig {
	case unix.SIGKILL, unix.SIGSTOP:
		vm.process.signal(sig)
		return
	case unix.SIGCONT:
		vm.process.signal(sig)
	}
	vm.control.Say(boot.Signal(sig).String())
}

// result is how the machine ended, given what it said last.
func (vm *machine) result(exit int) (int, error) {
	state := vm.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case exit != noExit:
		return exit, nil
	case vm.killed:
		return 128 + int(unix.SIGKILL), nil
	case state.Signaled():
		return 0, fmt.Errorf("QEMU died: %v%s", state.Signal(), vm.words.last())
	case state.ExitStatus() != 0:
		return 0, fmt.Errorf("QEMU failed with exit status %d%s", state.ExitStatus(), vm.words.last())
	}
	return 0, fmt.Errorf("the machine was reset or switched off, and its program's exit code is not known: the image crashed%s", vm.words.last())
}

// process is QEMU's process.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has ended
	killed bool          // by this process
}

// run starts QEMU with files from firstFD on, in the cgroup into. A thread does it that lives as
// long as QEMU: the kernel kills QEMU when the thread that started it ends
// (PR_SET_PDEATHSIG in prctl(2)), which is to happen when the monitor ends, in
// whatever way.
func run(program string, args []string, files []*os.File, into string) (process, words, error) {
	group, err := cgroup.Open(into)
	if err != nil {
		return process{}, words{}, err
	}
	defer group.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return process{}, words{}, err
	}
	defer w.Close()
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles = files
	cmd.Stdout, cmd.Stderr = w, w
	// Signals of the terminal are for this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	p := process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	cgroup.Thread(func() {
		err := group.Place(cmd.SysProcAttr)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			// How it ended is in cmd.ProcessState.
			_ = cmd.Wait()
			close(p.ended)
		}
	})
	if err := <-started; err != nil {
		r.Close()
		return process{}, words{}, err
	}
	return p, words{from: r}, nil
}

// signal sends sig to QEMU. That it has ended already is no error.
func (p *process) signal(sig unix.Signal) {
	p.killed = p.killed || sig == unix.SIGKILL
	_ = p.cmd.Process.Signal(sig)
}

// words are what QEMU itself says.
type words struct {
	from *os.File
	tail []string
}

// tailLines is how many of the last lines are kept.
const tailLines = 4

// listen reads until QEMU's end. An error says that it cannot go on: KVM's
// failures leave it waiting for good.
func (w *words) listen(log func(string, ...any)) error {
	defer w.from.Close()
	for sc := bufio.NewScanner(w.from); sc.Scan(); {
		line := strings.TrimPrefix(sc.Text(), Program+": ")
		log("QEMU: %s", line)
		if isStuck(line) {
			return fmt.Errorf("%w: %s", errStuck, line)
		}
		w.tail = append(w.tail, line)
		w.tail = w.tail[max(0, len(w.tail)-tailLines):]
	}
	return nil
}

// errStuck is that KVM failed.
var errStuck = errors.New("QEMU stopped the machine")

// isStuck tells the lines with which QEMU stops a machine's CPUs
// (accel/kvm/kvm-all.c, kvm_cpu_exec).
func isStuck(line string) bool {
	return strings.HasPrefix(line, "KVM internal error") || strings.HasPrefix(line, "KVM: entry failed") ||
		strings.HasPrefix(line, "error: kvm run failed")
}

// last are the last lines, as the end of an error.
func (w *words) last() string {
	if len(w.tail) == 0 {
		return ""
	}
	return ": " + strings.Join(w.tail, "; ")
}
