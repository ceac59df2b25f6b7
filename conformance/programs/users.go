package main

import (
	"os"
	"strings"
	"syscall"
)

// users: root makes itself another user, for a while and for good, and files
// are checked against whom it is.
func users() {
	if os.Getuid() != 0 {
		show("needs root")
		return
	}
	scratch()
	check(os.Chmod(".", 0o755))
	check(os.WriteFile("secret", []byte("root's"), 0o600))
	check(os.Mkdir("shared", 0))
	check(os.Chmod("shared", 0o777|os.ModeSticky))
	check(os.WriteFile("shared/root", nil, 0o666))
	check(syscall.Setgroups([]int{7, 5}))
	show("groups", must(os.Getgroups()))

	check(syscall.Setresgid(-1, 1000, -1))
	check(syscall.Setresuid(-1, 1000, -1))
	show("for a while", os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid())
	show("secret", second(os.ReadFile("secret")))
	show("own", os.WriteFile("shared/own", nil, 0o600), os.Remove("shared/root"))
	st := must(os.Stat("shared/own")).Sys().(*syscall.Stat_t)
	show("owner", st.Uid, st.Gid)
	check(syscall.Setresuid(-1, 0, -1))
	show("again", second(os.ReadFile("secret")))

	check(syscall.Setgid(1000))
	check(syscall.Setuid(1000))
	for line := range strings.Lines(string(must(os.ReadFile("/proc/self/status")))) {
		if name, ids, _ := strings.Cut(strings.TrimSpace(line), ":\t"); name == "Uid" || name == "Gid" || name == "Groups" {
			show(name, strings.Fields(ids))
		}
	}
	show("back", syscall.Setuid(0), syscall.Setgid(0), syscall.Setgroups(nil))
	show("chown", os.Chown("shared/own", 0, 0), os.Chmod("secret", 0o777))
	show("mkdir", os.Mkdir("new", 0o700), os.Mkdir("shared/new", 0o700))
}
