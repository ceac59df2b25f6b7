// Package cgroup places processes that are started in a cgroup (cgroups(7)) that
// the user has made, of version 2 or, where a host still has them, of version 1.
// Monitors place what they start.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cgroup is an open cgroup. A nil one is the own.
type Cgroup struct {
	dir *os.File
	v2  bool
}

// Open opens the cgroup of a path: of its folder, or from the root of version
// 2's hierarchy. It is nil for an empty path.
func Open(path string) (*Cgroup, error) {
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		root, err := unified("/proc/self/mountinfo")
		if err != nil {
			return nil, fmt.Errorf("cgroup %s: %w", path, err)
		}
		path = filepath.Join(root, path)
	}
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_PATH, 0)
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	var fs unix.Statfs_t
	err = unix.Fstatfs(int(dir.Fd()), &fs)
	if err == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC && fs.Type != unix.CGROUP_SUPER_MAGIC {
		err = errors.New("it is not a folder of a cgroup file system")
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", path, errors.Join(err, dir.Close()))
	}
	return &Cgroup{dir, fs.Type == unix.CGROUP2_SUPER_MAGIC}, nil
}

// unified is where version 2's hierarchy is mounted (proc_pid_mountinfo(5): the
// fifth field is the place, the one behind " - " the type).
func unified(mountinfo string) (string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		mount, kind, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		if len(fields) > 4 && strings.HasPrefix(kind, "cgroup2 ") {
			return fields[4], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", errors.New("this host has no cgroups of version 2: give the absolute path of a folder")
}

// String is the folder.
func (c *Cgroup) String() string { return c.dir.Name() }

// Close closes what Open opened.
func (c *Cgroup) Close() error {
	if c == nil {
		return nil
	}
	return c.dir.Close()
}

// Thread calls f in a goroutine of its own, on a thread that ends with it: one
// for Place.
func Thread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		// The process's first thread stays, and its memory is counted where
		// that is. While this goroutine has it, another gets another one.
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}

// Place has a process that is started with attr, by this thread, begin in the
// cgroup. The thread, one of Thread's, may be placed there itself.
func (c *Cgroup) Place(attr *syscall.SysProcAttr) error {
	switch {
	case c == nil:
		return nil
	case c.v2:
		attr.UseCgroupFD, attr.CgroupFD = true, int(c.dir.Fd())
		return nil
	}
	// A child is where the thread is that makes it, which in version 1 need
	// not be where its process is.
	tasks, err := unix.Openat(int(c.dir.Fd()), "tasks", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(tasks, strconv.AppendInt(nil, int64(unix.Gettid()), 10))
		err = errors.Join(err, unix.Close(tasks))
	}
	if err != nil {
		return fmt.Errorf("enter cgroup %s: %w", c, err)
	}
	return nil
}
