package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mounted returns the mount points of one cgroup version.
func mounted(t *testing.T, kind string) (folders []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == kind {
			folders = append(folders, f[1])
		}
	}
	return folders
}

// group makes a cgroup below one of the mount points.
func group(t *testing.T, folders []string) string {
	t.Helper()
	for _, parent := range folders {
		name := filepath.Join(parent, fmt.Sprintf("pith-test-%d", os.Getpid()))
		if err := os.Mkdir(name, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			// The thread that was in it ends a moment after its goroutine.
			err := os.Remove(name)
			for end := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(end); err = os.Remove(name) {
				time.Sleep(time.Millisecond)
			}
			if err != nil {
				t.Error(err)
			}
		})
		return name
	}
	t.Skipf("no cgroup can be made in %q", folders)
	return ""
}

// whereIs starts a child in the cgroup at path, and returns the child's
// /proc/self/cgroup.
func whereIs(t *testing.T, path string) (string, error) {
	t.Helper()
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out []byte
	done := make(chan error)
	Thread(func() {
		cmd := exec.Command("cat", "/proc/self/cgroup")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		err := c.Place(cmd.SysProcAttr)
		if err == nil {
			out, err = cmd.Output()
		}
		done <- err
	})
	err = <-done
	return string(out), err
}

func TestChildBeginsInTheCgroup(t *testing.T) {
	for _, kind := range []string{"cgroup", "cgroup2"} {
		t.Run(kind, func(t *testing.T) {
			path := group(t, mounted(t, kind))
			out, err := whereIs(t, path)
			if err != nil || !strings.Contains(out, "/"+filepath.Base(path)+"\n") {
				t.Errorf("%v: the child is in\n%s", err, out)
			}
			if here, err := os.ReadFile("/proc/self/cgroup"); err != nil || strings.Contains(string(here), filepath.Base(path)) {
				t.Errorf("%v: this process is in\n%s", err, here)
			}
		})
	}
}

func TestRelativePathIsOfVersion2(t *testing.T) {
	path := group(t, mounted(t, "cgroup2"))
	out, err := whereIs(t, filepath.Base(path))
	if err != nil || !strings.Contains(out, "/"+filepath.Base(path)+"\n") {
		t.Errorf("%v: the child is in\n%s", err, out)
	}
}

func TestAnEmptyPathIsTheCallersCgroup(t *testing.T) {
	c, err := Open("")
	if c != nil || err != nil {
		t.Fatal(c, err)
	}
	var attr syscall.SysProcAttr
	if err := c.Place(&attr); err != nil || attr.UseCgroupFD {
		t.Error(attr, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestOtherDirectoriesAreRefused(t *testing.T) {
	for path, want := range map[string]string{
		t.TempDir():             "it is not a folder of a cgroup file system",
		"/nowhere":              "no such file or directory",
		"/proc/self/mountinfo":  "not a directory",
		"pith-test/not/a/group": "cgroup",
	} {
		if c, err := Open(path); c != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestHostWithoutVersion2(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mountinfo")
	mounts := "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	if err := os.WriteFile(name, []byte(mounts), 0o600); err != nil {
		t.Fatal(err)
	}
	if root, err := unified(name); err == nil {
		t.Errorf("found at %s", root)
	}
	mounts += "31 20 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n"
	if err := os.WriteFile(name, []byte(mounts), 0o600); err != nil {
		t.Fatal(err)
	}
	if root, err := unified(name); root != "/sys/fs/cgroup/unified" {
		t.Errorf("%q, %v", root, err)
	}
}
