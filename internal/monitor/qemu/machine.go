package qemu

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/internal/monitor/jail"

	"golang.org/x/sys/unix"
)

// Program is the name of QEMU's executable.
const Program = "qemu-system-x86_64"

// install says how to get QEMU.
const install = "install it: apt-get install qemu-system-x86 (Debian, Ubuntu), dnf install qemu-system-x86-core (Fedora), " +
	"apk add qemu-system-x86_64 (Alpine), pacman -S qemu-system-x86 (Arch)"

// ErrMissing means that QEMU is not installed.
var ErrMissing = errors.New(Program + " is not in PATH: " + install)

func find() (string, error) {
	program, err := exec.LookPath(Program)
	if errors.Is(err, exec.ErrNotFound) {
		return "", ErrMissing
	}
	return program, err
}

// start starts QEMU.
func start(program, accel string, l *instance.Launch) (*machine, error) {
	var q command
	vm := &machine{launch: l, control: guest.NewControl(), exit: noExit}
	err := q.compose(vm, accel, l)
	if err == nil {
		if err = vm.run(program, q.args, q.files, l.Cgroup); err != nil {
			err = fmt.Errorf("start QEMU: %w", err)
		}
	}
	if err != nil {
		q.abandon()
		if vm.link != nil { // the network will not close it
			err = errors.Join(err, vm.link.Close())
		}
		return nil, errors.Join(err, vm.closeFront())
	}
	q.close()
	return vm, nil
}

// process is QEMU's process.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when QEMU has ended
	err    error         // error of waiting for the end; valid once ended is closed
	killed atomic.Bool   // this process has killed QEMU
}

// run starts QEMU with files from firstFD on, in the cgroup into.
//
// The kernel kills QEMU when the thread that started it ends (PR_SET_PDEATHSIG in
// prctl(2)). So the starting thread lives as long as QEMU. It ends earlier only if
// the monitor ends.
func (vm *machine) run(program string, args []string, files []*os.File, into string) error {
	group, err := cgroup.Open(into)
	if err != nil {
		return err
	}
	defer group.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles = files
	cmd.Stdout, cmd.Stderr = w, w
	// QEMU has its own process group, so signals of the terminal reach only this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	vm.cmd, vm.ended = cmd, make(chan struct{})
	started := make(chan error)
	cgroup.Thread(func() {
		err := group.Place(cmd.SysProcAttr)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			vm.err = jail.AwaitEnd(cmd.Process.Pid)
			close(vm.ended)
		}
	})
	if err := <-started; err != nil {
		return errors.Join(err, r.Close())
	}
	vm.output = output{from: r}
	return nil
}

// signal sends sig to QEMU. It is no error if QEMU has ended already.
func (p *process) signal(sig unix.Signal) {
	if sig == unix.SIGKILL {
		p.killed.Store(true)
	}
	_ = p.cmd.Process.Signal(sig)
}

// reap releases QEMU's process id and returns how QEMU ended.
func (p *process) reap() (syscall.WaitStatus, error) {
	_ = p.cmd.Wait() // ProcessState has the result
	if p.cmd.ProcessState == nil {
		return 0, errors.Join(errors.New("waiting for QEMU's end failed"), p.err)
	}
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus), p.err
}

// output is the output of QEMU itself.
type output struct {
	from *os.File
	tail []string
}

// tailLines is the number of last lines that output keeps.
const tailLines = 4

// listen reads the output until QEMU ends. It returns an error if QEMU cannot go on: after a
// failure of KVM, QEMU waits forever.
func (o *output) listen(log func(string, ...any)) error {
	defer o.from.Close()
	for sc := bufio.NewScanner(o.from); sc.Scan(); {
		line := strings.TrimPrefix(sc.Text(), Program+": ")
		log("QEMU: %s", line)
		if isStuck(line) {
			return fmt.Errorf("%w: %s", errStuck, line)
		}
		o.tail = append(o.tail, line)
		o.tail = o.tail[max(0, len(o.tail)-tailLines):]
	}
	return nil
}

// errStuck means that KVM failed.
var errStuck = errors.New("QEMU stopped the virtual machine")

// isStuck reports whether QEMU writes this line when it stops the vCPUs for a failure of KVM
// (accel/kvm/kvm-all.c, kvm_cpu_exec).
func isStuck(line string) bool {
	return strings.HasPrefix(line, "KVM internal error") || strings.HasPrefix(line, "KVM: entry failed") ||
		strings.HasPrefix(line, "error: kvm run failed")
}

// last returns the last lines, for the end of an error message.
func (o *output) last() string {
	if len(o.tail) == 0 {
		return ""
	}
	return ": " + strings.Join(o.tail, "; ")
}
