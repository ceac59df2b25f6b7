package toolchain

import (
	"go/build"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// callers are the packages whose own system calls are always in the library OS's table. In
// these packages, calls of syscall.Syscall and similar functions become calls of pithCall. So
// a program reaches the exported functions only if it can make a system call by number. Only
// then does it need the rest of the table (sys.Everything).
var callers = []string{"syscall", "internal/syscall/unix", "internal/poll"}

var (
	callExpr = regexp.MustCompile(`(^|[^\w.])(?:syscall\.)?(?:Raw)?Syscall(6?)\(`)
	// rare matches the calls that need the rest of the table. Some of them make a kind
	// of file that only other calls in the rest can use. The others use no such file.
	rare = regexp.MustCompile(`SYS_(SOCKET|SOCKETPAIR|EPOLL_CREATE1?|INOTIFY_INIT1?|P?SELECT6?|\w*XATTR|M(UN)?MAP|MPROTECT|MADVISE|M(UN)?LOCK(ALL)?)\b`)
)

// redirectCalls edits the callers' files.
func (t tree) redirectCalls(goroot string) error {
	ctx := build.Default
	ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled = "linux", runtime.GOARCH, false
	for _, pkg := range callers {
		dir := filepath.Join(goroot, "src", filepath.FromSlash(pkg))
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			if ok, err := ctx.MatchFile(dir, e.Name()); err != nil || !ok {
				continue
			}
			name := "src/" + pkg + "/" + e.Name()
			data, edited := t[name]
			if !edited {
				if data, err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
			s := &goSource{name: name, data: []byte(redirect(string(data)))}
			if string(s.data) == string(data) {
				continue
			}
			if err := s.tidy(); err != nil {
				return err
			}
			t[name] = s.data
		}
	}
	return nil
}

// redirect edits the statements of a file that make system calls, except for rare ones.
func redirect(src string) string {
	lines := strings.SplitAfter(src, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "func ") || strings.HasPrefix(strings.TrimSpace(line), "//") || rare.MatchString(line) {
			continue
		}
		lines[i] = callExpr.ReplaceAllString(line, "${1}pithCall${2}(")
	}
	return strings.Join(lines, "")
}
