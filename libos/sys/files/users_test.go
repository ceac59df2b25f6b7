package files_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
)

func TestRandomFileOperationsOfUsersAsOnLinux(t *testing.T) {
	systest.NeedRoot(t)
	rounds := uint64(300)
	if testing.Short() {
		rounds = 30
	}
	become := operation{"become", func(w *world, in input) string {
		user := []uintptr{0, 7, 1000}[in.pick(3)]
		return fmt.Sprint(user, " ", w.become(user))
	}}
	public := operation{"public", func(w *world, in input) string {
		w.become(0)
		return w.plain("", linux.SYS_FCHMOD, w.root, []uintptr{0o777, 0o1777, 0o755}[in.pick(3)])
	}}
	all := append(slices.Clone(operations), become, become, become, public)
	// Linux checks the credentials that opened the descriptor.
	all = slices.DeleteFunc(all, func(o operation) bool { return o.name == "link open" })
	for seed := range rounds {
		systest.AsRoot(func() {
			if !compareOperations(t, randomProgram(seed), "/tmp", all) {
				t.Errorf("seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// become changes to user id, which can change to root again.
func (w *world) become(id uintptr) linux.Errno {
	const keep = ^uintptr(0)
	for _, call := range [][4]uintptr{
		{linux.SYS_SETRESUID, keep, 0, keep},
		{linux.SYS_SETGROUPS, 1, at(&[1]uint32{7})},
		{linux.SYS_SETRESGID, id, id, 0},
		{linux.SYS_SETRESUID, id, id, 0},
	} {
		if _, errno := w.do(int(call[0]), call[1:]...); errno != 0 {
			return errno
		}
	}
	return 0
}
