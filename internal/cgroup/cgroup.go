// Package cgroup starts processes in a cgroup (cgroups(7)) that the user has made,
// of version 2 or, on hosts that still have it, of version 1. Monitors use it.
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

// Cgroup is an open cgroup. A nil Cgroup stands for the caller's own cgroup.
type Cgroup struct {
	dir *os.File
	v2  bool
}

// Open opens the cgroup at a path. An absolute path names a directory. A relative
// path starts at the root of the version 2 hierarchy. Open returns nil for an empty
// path.
func Open(path string) (*Cgroup, error) {
	if path == "" {
		return nil, nil
	}
	if !filepath.IsAbs(path) {
		root, err := unified("/proc/self/mountinfo")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		path = filepath.Join(root, path)
	}
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	err = unix.Fstatfs(int(dir.Fd()), &fs)
	if err == nil && fs.Type != unix.CGROUP2_SUPER_MAGIC && fs.Type != unix.CGROUP_SUPER_MAGIC {
		err = errors.New("it is not a folder of a cgroup file system")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, dir.Close()))
	}
	return &Cgroup{dir, fs.Type == unix.CGROUP2_SUPER_MAGIC}, nil
}

// unified returns where the version 2 hierarchy is mounted. In
// proc_pid_mountinfo(5), the fifth field is the mount point, and the file system
// type follows " - ".
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
	return "", errors.New("the host has no cgroups of version 2: give the absolute path of a folder")
}

// String returns the path of the cgroup's directory.
func (c *Cgroup) String() string { return c.dir.Name() }

// Close closes what Open opened.
func (c *Cgroup) Close() error {
	if c == nil {
		return nil
	}
	return c.dir.Close()
}

// Thread calls f in a goroutine of its own, on a thread that ends when f returns.
// Such a thread may call Place.
func Thread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		// The process's first thread does not end, and the process's memory is
		// counted in the cgroup of this thread. While this goroutine holds it,
		// another goroutine gets another thread.
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

// Place makes the process that this thread starts with attr begin in the cgroup. It
// may also move the calling thread there, so call it only in a function that Thread
// runs.
func (c *Cgroup) Place(attr *syscall.SysProcAttr) error {
	switch {
	case c == nil:
		return nil
	case c.v2:
		attr.UseCgroupFD, attr.CgroupFD = true, int(c.dir.Fd())
		return nil
	}
	// A child begins in the cgroup of the thread that makes it. In version 1,
	// this need not be the cgroup of the thread's process.
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
