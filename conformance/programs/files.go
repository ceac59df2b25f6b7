package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func files() {
	scratch()
	f := must(os.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640))
	show("write", must(f.WriteString("hello, world")))
	show("seek", must(f.Seek(-5, io.SeekEnd)))
	show("read", fmt.Sprintf("%q", must(io.ReadAll(f))))
	n, err := f.Read(make([]byte, 1))
	show("at the end", n, err)
	show("write at", must(f.WriteAt([]byte("HELLO"), 0)))
	b := make([]byte, 20)
	n, err = f.ReadAt(b, 7)
	show("read at", n, err, fmt.Sprintf("%q", b[:n]))
	check(f.Truncate(5))
	show("truncated", must(f.Stat()).Size())
	show("write far", must(f.WriteAt([]byte("!"), 10_000)))
	info := must(f.Stat())
	show("stat", info.Name(), info.Size(), info.Mode(), info.IsDir())
	_, err = f.ReadAt(b, 9_995)
	show("hole", err, b[:6])
	show("seek before the start", second(f.Seek(-1, io.SeekStart)))
	show("sync", f.Sync())
	show("close", f.Close(), f.Close())

	show("exists", second(os.OpenFile("a", os.O_CREATE|os.O_EXCL, 0o600)))
	show("missing", second(os.Open("b")))
	show("not a directory", second(os.Open("a/b")))
	show("is a directory", second(os.OpenFile(".", os.O_WRONLY, 0)))
	show("name too long", second(os.Create(strings.Repeat("x", 256))))
	show("empty name", second(os.Open("")))
	r := must(os.Open("a"))
	show("write to a reader", second(r.WriteString("x")))
	check(r.Close())
	show("use after close", second(r.Read(b)))

	check(os.WriteFile("log", []byte("one\n"), 0o644))
	f = must(os.OpenFile("log", os.O_APPEND|os.O_WRONLY, 0))
	must(f.WriteString("two\n"))
	show("write at, appending", second(f.WriteAt([]byte("x"), 0)))
	check(f.Close())
	show("log", fmt.Sprintf("%q", must(os.ReadFile("log"))))

	// An open file outlives its name.
	f = must(os.Open("log"))
	check(os.Remove("log"))
	show("unlinked", fmt.Sprintf("%q", must(io.ReadAll(f))), second(os.Stat("log")))
	check(f.Close())

	check(os.Chmod("a", 0o4755))
	show("mode", must(os.Stat("a")).Mode())
	check(os.Chmod("a", 0o755|os.ModeSetuid))
	show("setuid", must(os.Stat("a")).Mode())
	when := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	check(os.Chtimes("a", when, when))
	show("times", must(os.Stat("a")).ModTime().UTC())
	show("chown", os.Chown("a", os.Getuid(), os.Getgid()))
	show("same file", os.SameFile(must(os.Stat("a")), must(os.Stat("./a"))))
	syscall.Umask(0o077)
	check(os.WriteFile("private", nil, 0o666))
	show("umask", must(os.Stat("private")).Mode())

	big := make([]byte, 3<<20)
	for i := range big {
		big[i] = byte(i * 7 >> 3)
	}
	check(os.WriteFile("big", big, 0o600))
	show("big", slices.Equal(big, must(os.ReadFile("big"))))
}

func directories() {
	scratch()
	check(os.MkdirAll("d/e/f", 0o755))
	show("mkdir again", os.Mkdir("d", 0o755), os.MkdirAll("d/e/f", 0o755))
	show("parent missing", os.Mkdir("x/y", 0o755))
	for _, name := range []string{"d/2", "d/1", "d/e/3"} {
		check(os.WriteFile(name, []byte(name), 0o644))
	}
	check(filepath.WalkDir("d", func(path string, e fs.DirEntry, err error) error {
		show("walk", path, e.IsDir(), e.Type(), err)
		return nil
	}))
	show("not empty", os.Remove("d"))
	show("rename a file", os.Rename("d/1", "d/e/1"))
	show("rename a folder", os.Rename("d/e", "g"))
	show("into itself", os.Rename("g", "g/f/g"))
	show("over a folder", os.Rename("d/2", "g"))
	show("onto a file", os.Rename("g/1", "g/3"), string(must(os.ReadFile("g/3"))))
	show("rename a missing one", os.Rename("none", "other"))

	check(os.Mkdir("many", 0o755))
	for i := range 1500 {
		check(os.WriteFile(fmt.Sprintf("many/%04d-%s", i, strings.Repeat("n", 40)), nil, 0o600))
	}
	d := must(os.Open("many"))
	first := must(d.Readdirnames(10))
	rest := must(d.Readdirnames(-1))
	names := append(first, rest...)
	slices.Sort(names)
	show("many", len(first), len(rest), len(slices.Compact(names)))
	_, err := d.Readdirnames(1)
	show("at the end", err)
	check(d.Close())
	show("glob", len(must(filepath.Glob("many/01[0-4]?-*"))))
	show("remove all", os.RemoveAll("many"), second(os.Stat("many")))
	show("remove nothing", os.RemoveAll("many"))

	check(os.Chdir("g"))
	show("relative", string(must(os.ReadFile("../d/2"))), filepath.Base(must(os.Getwd())))
	check(os.Chdir(".."))
	show("chdir to a file", os.Chdir("d/2"))

	root := must(os.OpenRoot("g"))
	show("root", string(must(root.ReadFile("3"))))
	show("escape", second(root.Open("../d/2")))
	show("root mkdir", root.MkdirAll("p/q", 0o755), root.Rename("3", "p/q/3"), root.RemoveAll("p"))
	check(root.Close())

	check(os.CopyFS("copy", os.DirFS("d")))
	show("copy", string(must(os.ReadFile("copy/2"))))
	temp := must(os.CreateTemp("", "prefix-*.txt"))
	show("temp", strings.HasPrefix(filepath.Base(temp.Name()), "prefix-"), must(temp.Stat()).Mode())
	show("removed", temp.Close(), os.Remove(temp.Name()))
}

func links() {
	scratch()
	check(os.WriteFile("file", []byte("content"), 0o644))
	check(os.Mkdir("dir", 0o755))
	show("symlink", os.Symlink("file", "link"), must(os.Readlink("link")))
	show("through", string(must(os.ReadFile("link"))))
	show("lstat", must(os.Lstat("link")).Mode(), must(os.Stat("link")).Mode())
	show("again", os.Symlink("file", "link"))
	show("dangling", os.Symlink("none", "dangling"), second(os.ReadFile("dangling")))
	show("create through", os.WriteFile("dangling", []byte("now"), 0o644), string(must(os.ReadFile("none"))))
	show("loop", os.Symlink("loop", "loop"), second(os.Open("loop")))
	show("folder", os.Symlink("../file", "dir/up"), string(must(os.ReadFile("dir/up"))))
	show("no follow", second(os.OpenFile("link", os.O_RDONLY|syscall.O_NOFOLLOW, 0)))
	show("readlink of a file", second(os.Readlink("file")))
	show("clean", must(filepath.EvalSymlinks("dir/../link")))

	show("hard link", os.Link("file", "hard"))
	check(os.WriteFile("hard", []byte("changed"), 0o644))
	show("shared", string(must(os.ReadFile("file"))), os.SameFile(must(os.Stat("file")), must(os.Stat("hard"))))
	show("links", must(os.Stat("file")).Sys().(*syscall.Stat_t).Nlink)
	show("remove one", os.Remove("file"), string(must(os.ReadFile("hard"))))
	show("links", must(os.Stat("hard")).Sys().(*syscall.Stat_t).Nlink)
	show("link to a folder", os.Link("dir", "hard2") != nil)
	show("remove a link", os.Remove("loop"), os.Remove("link"), second(os.Lstat("link")))
}

// copying: the ways by which os and net avoid user space.
func copying() {
	scratch()
	content := strings.Repeat("0123456789abcdef", 20_000)
	check(os.WriteFile("from", []byte(content), 0o644))
	from, to := must(os.Open("from")), must(os.Create("to"))
	show("copy_file_range", must(io.Copy(to, from)))
	check(errors.Join(from.Close(), to.Close()))
	show("same", string(must(os.ReadFile("to"))) == content)

	from, to = must(os.Open("from")), must(os.OpenFile("to", os.O_WRONLY|os.O_APPEND, 0))
	must(from.Seek(100, io.SeekStart))
	show("part, appended", must(io.CopyN(to, from, 1000)))
	check(errors.Join(from.Close(), to.Close()))
	show("size", must(os.Stat("to")).Size())

	// The chain from a file through two connections into a file.
	server, client := tcpPair()
	server2, client2 := tcpPair()
	go func() {
		f := must(os.Open("from"))
		must(io.Copy(client, f)) // sendfile
		check(errors.Join(f.Close(), client.CloseWrite()))
	}()
	go func() {
		must(io.Copy(client2, server)) // splice
		check(client2.CloseWrite())
	}()
	to = must(os.Create("received"))
	show("received", must(io.Copy(to, server2)))
	check(to.Close())
	show("same", string(must(os.ReadFile("received"))) == content)
	for _, c := range []io.Closer{server, client, server2, client2} {
		check(c.Close())
	}
}

// second is the error of a call whose value does not matter.
func second[T any](_ T, err error) error { return err }
