package doctor

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/toolchain"
)

func checkGo(ctx context.Context) Check {
	c := Check{Name: "Go"}
	goroot, version, err := toolchain.Find(ctx, "")
	if err != nil {
		c.Status, c.Found = Missing, err.Error()
		c.Advice = "images that are built already run, but pith cannot build any"
		return c
	}
	c.Found = version + " in " + goroot
	return c
}

// checkMonitor has a monitor run its trial.
func checkMonitor(ctx context.Context, m instance.Monitor) Check {
	d := m.Describe()
	c := checkLimited(d.Name+" monitor", ctx, m.Probe, d.Without)
	if c.Status != OK && d.Essential {
		c.Status = Missing
	}
	return c
}

// namespaceSettings are settings of the host that may forbid user namespaces to
// ordinary users: the value that forbids them, and how to allow them.
var namespaceSettings = []struct{ file, forbids, advice string }{
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1 (as root) allows them"},
	{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000 (as root) allows them"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0 (as root), or an AppArmor profile for pith with \"userns,\", allows them"},
}

// checkNamespaces starts a process in the namespaces that an image gets
// (user_namespaces(7)).
func checkNamespaces() Check {
	c := Check{Name: "user namespaces", Found: "a process can have its own"}
	cmd := exec.Command("/proc/self/exe", "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	err := cmd.Run()
	if err == nil {
		return c
	}
	c.Status, c.Found = Limited, err.Error()
	c.Advice = "images run in the namespaces of the host: only the seccomp filter and their empty environment confine them"
	for _, s := range namespaceSettings {
		if b, err := os.ReadFile(s.file); err == nil && strings.TrimSpace(string(b)) == s.forbids {
			c.Advice += "; " + s.advice
			return c
		}
	}
	c.Advice += "; in a container, its runtime has to permit unshare(2) and clone(2) with CLONE_NEWUSER"
	return c
}

// checkSeccomp looks for filters that end a process (seccomp(2)).
func checkSeccomp() Check {
	c := Check{Name: "seccomp", Found: "filters can end a process"}
	b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil || !strings.Contains(string(b), "kill_process") {
		c.Status, c.Found = Missing, "the kernel has no filters that end a process"
		c.Advice = "images do not run without them: use Linux 4.14 or later with CONFIG_SECCOMP_FILTER"
	}
	return c
}

// checkMemory compares the free memory with the default of pith run.
func checkMemory() Check {
	const enough = 256 << 20
	c := Check{Name: "memory"}
	free, err := availableMemory()
	if err != nil {
		c.Status, c.Found = Limited, err.Error()
		c.Advice = "give pith run a --memory that the host has"
		return c
	}
	c.Found = fmt.Sprintf("%d MiB available", free>>20)
	if free < enough {
		c.Status = Limited
		c.Advice = "by default an instance may use 256M: give pith run less with --memory"
	}
	return c
}

// availableMemory returns MemAvailable of proc_meminfo(5) in bytes, or what the cgroup
// still allows if that is less (memory.max and memory.current of version 2).
func availableMemory() (uint64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var free uint64
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if fields := strings.Fields(sc.Text()); len(fields) > 1 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseUint(fields[1], 10, 54)
			if err != nil {
				return 0, fmt.Errorf("/proc/meminfo: %w", err)
			}
			free = kib << 10
		}
	}
	limit, err1 := readNumber("/sys/fs/cgroup/memory.max")
	used, err2 := readNumber("/sys/fs/cgroup/memory.current")
	if err1 == nil && err2 == nil && limit >= used { // no number: no limit
		free = min(free, limit-used)
	}
	return free, nil
}

func readNumber(file string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// checkLimited runs a trial of something that images run without, too. without is
// the advice if it fails.
func checkLimited(name string, ctx context.Context, probe Probe, without string) Check {
	c := Check{Name: name}
	how, err := probe(ctx)
	if err != nil {
		c.Status, c.Found, c.Advice = Limited, err.Error(), without
		return c
	}
	c.Found = how
	return c
}

// standsAlone reports whether this program starts without other files. One that
// was built with cgo does not (elf(5), PT_INTERP).
func standsAlone(context.Context) (string, error) {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", errors.New("built with cgo: it needs the C library's files to start")
		}
	}
	return "needs no file but its own to start", nil
}
