package jail

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/monitor/jail/seccomp"

	"golang.org/x/sys/unix"
)

// Program describes another execution of this program, in a jail. There, none of its
// threads has a privilege. The program itself loads its filter with [ConfineProcess] when
// it has set up what it needs.
type Program struct {
	Name   string // argument 0; the program recognises its role by it
	Args   []string
	Env    []string
	Files  []int          // its descriptors: index i becomes descriptor i
	Limits map[int]uint64 // resource limits, in addition to the ones of every jail
	// Threads is the maximum number of threads, including kernel threads that work
	// for the program.
	Threads uint64
	Cgroup  *cgroup.Cgroup
}

// programName is argument 0 of the jail of a Program. The jail's only other argument is
// the number of the program's descriptors. The program's file and the status socket follow
// these descriptors.
const programName = "pith-jail-again"

type programRequest struct {
	Request
	Args, Env [][]byte
	Limits    map[int]uint64
	Threads   uint64
}

// Start executes p in a jail. It also returns a short description of the confinement.
func Start(ctx context.Context, p Program) (*Process, string, error) {
	id := ChooseIdentity()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, "", err
	}
	defer self.Close()
	program, err := Executable(self, id.UID)
	if err != nil {
		return nil, "", err
	}
	if program != self {
		defer program.Close()
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, "", fmt.Errorf("status socket: %w", err)
	}
	err = unix.SetNonblock(pair[1], true) // for the deadline of Ask
	status := os.NewFile(uintptr(pair[1]), "status")
	defer status.Close()
	var child *Process
	if err == nil {
		child, err = Spawn(Child{
			Name:   programName,
			Args:   []string{strconv.Itoa(len(p.Files))},
			Files:  append(slices.Clone(p.Files), int(program.Fd()), pair[0]),
			Cgroup: p.Cgroup,
		}, id)
	}
	if err := errors.Join(err, unix.Close(pair[0])); err != nil {
		return nil, "", fmt.Errorf("start the jail: %w", err)
	}
	r, err := Ask(ctx, status, programRequest{
		Request: NewRequest(child, id),
		Args:    byteStrings(append([]string{p.Name}, p.Args...)), Env: byteStrings(p.Env),
		Limits: p.Limits, Threads: p.Threads,
	})
	if err != nil {
		return nil, "", errors.Join(err, child.Kill())
	}
	return child, fmt.Sprintf("namespaces: %s; root: %s", child.Namespaces, r.Root), nil
}

func byteStrings(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}

// Main runs as the jail of a Program if this process was started as one. Otherwise it
// returns at once. main must call it early.
func Main() {
	if len(os.Args) != 2 || os.Args[0] != programName {
		return
	}
	runtime.LockOSThread()
	program, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = enterProgram(program, program+1)
		// This fails only if the monitor has ended.
		_ = SendReport(program+1, Report{Error: err.Error()})
	}
	os.Exit(1)
}

// enterProgram drops all privileges and executes the program. It returns only on
// failure.
func enterProgram(program, status int) error {
	var req programRequest
	if err := Receive(status, &req); err != nil {
		return err
	}
	if err := KeepOnly(program, status); err != nil {
		return err
	}
	threads, err := req.ThreadLimit(req.Threads)
	if err != nil {
		return err
	}
	most := maps.Clone(req.Limits)
	if most == nil {
		most = map[int]uint64{}
	}
	most[unix.RLIMIT_NPROC] = threads
	limits, err := Limits(most)
	if err != nil {
		return err
	}
	libraries, err := libraries()
	if err != nil {
		return err
	}
	root, err := req.enter(program, libraries)
	if err != nil {
		return err
	}
	if err := SendReport(status, Report{Root: root}); err != nil {
		return fmt.Errorf("report to the monitor: %w", err)
	}
	exec, err := NewExecution("this program", program, req.Args, req.Env)
	if err != nil {
		return err
	}
	return exec.Exec(limits, nil)
}

// libraries returns the shared libraries that this program needs to start. It needs some
// only if it was built with cgo, which package net uses if there is a C compiler.
// Libraries are mapped into memory, so the sixth field of proc_pid_maps(5) lists them.
func libraries() ([]string, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	var files []string
	for line := range strings.Lines(string(maps)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 6 {
			continue
		}
		if path := strings.TrimLeft(fields[5], " "); strings.HasPrefix(path, "/") && path != self && !slices.Contains(files, path) {
			files = append(files, path)
		}
	}
	return files, nil
}

// ConfineProcess limits all present and future threads of this process to the system
// calls of a table. It also forbids the process's user to trace it.
func ConfineProcess(table []Call) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid tracing: %w", err)
	}
	return load(table, unix.SECCOMP_FILTER_FLAG_TSYNC)
}

// ConfineThread limits this thread to the system calls of a table. The thread's earlier
// filters still apply. The goroutine stays on the thread.
func ConfineThread(table []Call) error {
	runtime.LockOSThread()
	return load(table, 0)
}

// load loads the filter of a table.
func load(table []Call, flags uintptr) error {
	// If clone3(2) fails, a C library uses clone(2). A filter can check the flags of
	// clone(2) only.
	code, err := Filter(table, seccomp.Answer{Number: unix.SYS_CLONE3, Errno: unix.ENOSYS})
	if err != nil {
		return err
	}
	if errno := loadFilter(code, flags); errno != 0 {
		return fmt.Errorf("load the system call filter: %w", errno)
	}
	return nil
}
