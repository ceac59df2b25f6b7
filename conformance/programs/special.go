package main

import (
	"bytes"
	"crypto/rand"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

func devices() {
	show("null", must(os.OpenFile(os.DevNull, os.O_RDWR, 0)).Close())
	null := must(os.OpenFile("/dev/null", os.O_RDWR, 0))
	show("write to null", must(null.WriteString("gone")))
	n, err := null.Read(make([]byte, 4))
	show("read from null", n, err)
	zero := must(os.Open("/dev/zero"))
	b := bytes.Repeat([]byte{1}, 100)
	show("zero", must(zero.Read(b)), bytes.Count(b, []byte{0}))
	full := must(os.OpenFile("/dev/full", os.O_RDWR, 0))
	show("full", second(full.Write(b)))
	for _, name := range []string{"/dev/random", "/dev/urandom"} {
		f := must(os.Open(name))
		show(name, must(io.ReadFull(f, b)), bytes.Count(b, []byte{0}) < 50, must(f.Stat()).Mode())
		check(f.Close())
	}
	show("rand", must(rand.Read(b)))
	show("stdout", second(os.Stat("/dev/stdout")))
	for _, name := range []string{"/dev/null", "/dev/zero", "/dev", "/tmp", "/proc/self", "/etc"} {
		show(name, must(os.Stat(name)).Mode().Type())
	}
	show("tmp mode", must(os.Stat("/tmp")).Mode())
	for _, c := range []io.Closer{null, zero, full} {
		check(c.Close())
	}
}

// proc: what Go programs and libraries look for below /proc.
func proc() {
	for _, probe := range []struct{ path, word string }{
		{"/proc/cpuinfo", "processor"},
		{"/proc/meminfo", "MemTotal:"},
		{"/proc/mounts", " / "},
		{"/proc/self/maps", "r-xp"},
		{"/proc/self/status", "VmRSS:"},
		{"/proc/self/limits", "Max open files"},
		{"/proc/self/cmdline", "proc"},
		{"/proc/self/mounts", " /proc "},
		{"/proc/net/tcp", "local_address"},
		{"/proc/net/dev", "lo:"},
		{"/proc/sys/net/core/somaxconn", "\n"},
		{"/proc/sys/kernel/hostname", "\n"},
		{"/proc/sys/kernel/ostype", "Linux"},
		{"/proc/loadavg", "."},
		{"/proc/uptime", "."},
		{"/proc/stat", "btime"},
	} {
		data, err := os.ReadFile(probe.path)
		show(probe.path, err, strings.Contains(string(data), probe.word))
	}
	stat := string(must(os.ReadFile("/proc/self/stat")))
	show("own id", strings.HasPrefix(stat, fmt.Sprint(os.Getpid(), " (")))
	show("cmdline", fmt.Sprintf("%q", strings.Split(string(must(os.ReadFile("/proc/self/cmdline"))), "\x00")[1:]))
	exe := must(os.Readlink("/proc/self/exe"))
	show("exe", exe == must(os.Executable()))
	f := must(os.Open("/dev/null"))
	show("fd", must(os.Readlink(fmt.Sprint("/proc/self/fd/", f.Fd()))))
	show("read-only", os.WriteFile("/proc/cpuinfo", nil, 0) != nil)
	show("missing", second(os.Stat("/proc/no-such-file")))
}

//go:embed special.go testdata
var tree embed.FS

func embedded() {
	check(fs.WalkDir(tree, ".", func(path string, e fs.DirEntry, err error) error {
		show("embedded", path, e.IsDir(), err)
		return nil
	}))
	show("text", string(must(tree.ReadFile("testdata/verse.txt"))))
	show("missing", second(tree.Open("main.go")))
}
