package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/tinyelf"

	"golang.org/x/sys/unix"
)

// TestConfinement inspects a running image from outside, on several kinds of host.
func TestConfinement(t *testing.T) {
	const all = "user, mnt, pid, net, ipc, uts, cgroup"
	for _, test := range []struct {
		host       host
		namespaces string
		root       string
	}{
		{sameUser, all, "empty, read-only"},
		{otherUser, all, "empty, read-only"},
		{noUserNS, "mnt, pid, net, ipc, uts, cgroup", "empty, read-only"},
		{bareContainer, "none", "a removed directory"},
		{noRights, "none", "the host's, "},
	} {
		t.Run(string(test.host), func(t *testing.T) {
			monitor := startMonitor(t, test.host, waiting(t))
			pid := monitor.image(t)
			checkStatus(t, pid, test.host)
			checkDescriptors(t, pid)
			checkLimits(t, pid)
			own := namespacesOf(t, pid)
			if !strings.HasPrefix(test.root, "the host's") {
				checkEmptyRoot(t, pid)
			}
			if err := monitor.in.Close(); err != nil {
				t.Fatal(err)
			}
			if err := monitor.Wait(); monitor.ProcessState.ExitCode() != 3 {
				t.Errorf("ended with %v: %s", err, monitor.err)
			}
			log := monitor.err.String()
			if !strings.Contains(log, "namespaces: "+test.namespaces+"; root: "+test.root) {
				t.Errorf("the monitor reports %q; want namespaces %s, root %s", log, test.namespaces, test.root)
			}
			for _, ns := range strings.Split(test.namespaces, ", ") {
				if ns != "none" && !slices.Contains(own, ns) {
					t.Errorf("shares the host's namespace %s", ns)
				}
			}
		})
	}
}

// nobody is the start of a user or group line in proc_pid_status(5). The line holds the real,
// effective, saved and file system id.
const nobody = "65534\t65534\t65534\t65534"

// checkStatus checks proc_pid_status(5).
func checkStatus(t *testing.T, pid int, h host) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2", "Threads": "1", "SigBlk": "0000000000000000",
	}
	if h == sameUser && os.Geteuid() == 0 && jail.CanChangeUser(jail.Unprivileged, jail.Unprivileged) {
		want["Uid"], want["Gid"], want["Groups"] = nobody, nobody, ""
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		if w, ok := want[key]; ok && strings.TrimSpace(value) != w {
			t.Errorf("%s is %s, want %s", key, strings.TrimSpace(value), w)
		}
	}
}

// checkDescriptors checks that an image without ports has only the descriptors 0 to 7.
func checkDescriptors(t *testing.T, pid int) {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if errors.Is(err, os.ErrPermission) {
		t.Logf("descriptors: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range open {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(target, ":[")
		got = append(got, e.Name()+" "+kind)
	}
	want := []string{"0 pipe", "1 pipe", "2 pipe", "3 socket", "4 /dev/null", "5 anon_inode",
		"6 anon_inode", "7 /dev/urandom", "8 /dev/null", "9 /dev/null"}
	for i := range want {
		if len(got) != len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("descriptors %q, want %q", got, want)
		}
	}
}

// checkLimits checks proc_pid_limits(5).
func checkLimits(t *testing.T, pid int) {
	t.Helper()
	for which, most := range map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxDescriptors, unix.RLIMIT_STACK: maxStack,
		unix.RLIMIT_DATA: memoryLimit(16 << 20), unix.RLIMIT_NPROC: 1 << 20, unix.RLIMIT_MEMLOCK: 0,
	} {
		var l unix.Rlimit
		if err := unix.Prlimit(pid, which, nil, &l); errors.Is(err, unix.EPERM) {
			t.Logf("limits: %v", err)
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if l.Max > most {
			t.Errorf("resource limit %d is %d, want at most %d", which, l.Max, most)
		}
	}
}

// namespacesOf returns the kinds of namespaces that pid does not share with this process.
func namespacesOf(t *testing.T, pid int) (own []string) {
	t.Helper()
	for _, ns := range jail.AllNamespaces {
		theirs, err := os.Readlink(filepath.Join("/proc", fmt.Sprint(pid), "ns", ns.Name))
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.Readlink(filepath.Join("/proc/self/ns", ns.Name))
		if err != nil {
			t.Fatal(err)
		}
		if theirs != ours {
			own = append(own, ns.Name)
		}
	}
	return own
}

func checkEmptyRoot(t *testing.T, pid int) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/", pid))
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return // a removed directory has no entries to read
	}
	if err != nil || len(entries) != 0 {
		t.Errorf("the root has %v, %v", entries, err)
	}
}

func TestWritableAndExecutableSegmentIsRefused(t *testing.T) {
	if _, err := unix.PrctlRetInt(unix.PR_GET_MDWE, 0, 0, 0, 0); err != nil {
		t.Skip("this kernel has no PR_SET_MDWE (Linux 6.3)")
	}
	p := tinyelf.Program{WritableText: true}
	p.Exit(0)
	code, _ := run(t, &instance.Spec{Image: imageFile(t, &p)})
	if code != 128+int(unix.SIGSEGV) {
		t.Errorf("ended with %d", code)
	}
}
