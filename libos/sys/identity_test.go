package sys

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// asRoot runs f on a thread that ends with it, whatever f makes of the thread's
// credentials, and gives the library OS its own back.
func asRoot(f func()) {
	before := *cred.Current()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	cred.Change(func(c *cred.Credentials) linux.Errno {
		*c = before
		return 0
	})
}

// identity writes ids and capabilities down.
func (k *kernel) identity() {
	ids := new([6]uint32)
	k.raw(linux.SYS_GETRESUID, addr(&ids[0]), addr(&ids[1]), addr(&ids[2]))
	k.raw(linux.SYS_GETRESGID, addr(&ids[3]), addr(&ids[4]), addr(&ids[5]))
	k.note("%d", int32s(ids[:]))
	k.do("fsuid", linux.SYS_SETFSUID, ^uintptr(0))
	k.do("fsgid", linux.SYS_SETFSGID, ^uintptr(0))
	caps := new([2]linux.CapData)
	k.raw(linux.SYS_CAPGET, addr(&linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3}), addr(caps))
	// This host may have taken some from the test.
	const some = 1<<linux.CAP_SETUID | 1<<linux.CAP_SETGID | 1<<linux.CAP_CHOWN | 1<<linux.CAP_DAC_OVERRIDE
	k.note("%#x %#x %#x", caps[0].Effective&some, caps[0].Permitted&some, caps[0].Inheritable&some)
}

func int32s(ids []uint32) (signed []int32) {
	for _, id := range ids {
		signed = append(signed, int32(id))
	}
	return signed
}

func TestIdentitiesChangeAsOnLinux(t *testing.T) {
	needRoot(t)
	const keep = -1
	calls := map[string]int{
		"setuid": linux.SYS_SETUID, "setgid": linux.SYS_SETGID, "setfsuid": linux.SYS_SETFSUID, "setfsgid": linux.SYS_SETFSGID,
		"setreuid": linux.SYS_SETREUID, "setregid": linux.SYS_SETREGID,
		"setresuid": linux.SYS_SETRESUID, "setresgid": linux.SYS_SETRESGID, "keepcaps": linux.SYS_PRCTL,
	}
	type step struct {
		name string
		args [3]int
	}
	for name, steps := range map[string][]step{
		"for good":            {{"setgid", [3]int{7}}, {"setuid", [3]int{1000}}, {"setuid", [3]int{0}}, {"setgid", [3]int{0}}, {"setuid", [3]int{1000}}},
		"and back":            {{"setresuid", [3]int{keep, 1000, keep}}, {"setresgid", [3]int{1, 2, 3}}, {"setuid", [3]int{0}}, {"setresgid", [3]int{1, 2, 3}}},
		"half":                {{"setreuid", [3]int{1, 0}}, {"setreuid", [3]int{0, 2}}, {"setreuid", [3]int{2, 3}}, {"setreuid", [3]int{2, 0}}, {"setreuid", [3]int{keep, 2}}},
		"real and effective":  {{"setreuid", [3]int{5, 6}}, {"setreuid", [3]int{6, 5}}, {"setreuid", [3]int{0, 5}}, {"setreuid", [3]int{5, keep}}},
		"saved":               {{"setresuid", [3]int{1, 2, 3}}, {"setresuid", [3]int{3, 1, 2}}, {"setresuid", [3]int{keep, keep, 4}}, {"setuid", [3]int{2}}, {"setuid", [3]int{1}}},
		"groups":              {{"setregid", [3]int{101, 0}}, {"setregid", [3]int{0, 102}}, {"setresgid", [3]int{keep, 8, keep}}, {"setgid", [3]int{9}}},
		"files":               {{"setfsuid", [3]int{1000}}, {"setfsgid", [3]int{1000}}, {"setresuid", [3]int{keep, keep, 0}}, {"setfsuid", [3]int{0}}, {"setfsuid", [3]int{keep}}},
		"files, unprivileged": {{"setresuid", [3]int{1, 2, 3}}, {"setfsuid", [3]int{3}}, {"setfsuid", [3]int{4}}, {"setfsuid", [3]int{1}}},
		"capabilities kept":   {{"keepcaps", [3]int{linux.PR_SET_KEEPCAPS, 1}}, {"setuid", [3]int{1000}}, {"keepcaps", [3]int{linux.PR_GET_KEEPCAPS}}, {"setuid", [3]int{0}}},
		"no id":               {{"setuid", [3]int{keep}}, {"setgid", [3]int{keep}}, {"setreuid", [3]int{keep, keep}}},
	} {
		t.Run(name, func(t *testing.T) {
			asRoot(func() {
				differ(t, func(t *testing.T, k *kernel) {
					for _, s := range steps {
						k.do(s.name, calls[s.name], uintptr(s.args[0]), uintptr(s.args[1]), uintptr(s.args[2]))
						k.identity()
					}
				})
			})
		})
	}
}

func TestGroupsAsOnLinux(t *testing.T) {
	needRoot(t)
	asRoot(func() {
		differ(t, func(t *testing.T, k *kernel) {
			set := func(groups ...uint32) {
				k.do("setgroups", linux.SYS_SETGROUPS, uintptr(len(groups)), addr(&append(groups, 0)[0]))
				got := new([4]uint32)
				k.do("getgroups", linux.SYS_GETGROUPS, 4, addr(got))
				k.note("%v", *got)
			}
			set(5, 3, 4)
			k.do("how many", linux.SYS_GETGROUPS, 0, 0)
			k.do("too few", linux.SYS_GETGROUPS, 2, addr(new([2]uint32)))
			k.do("negative", linux.SYS_GETGROUPS, ^uintptr(0), 0)
			k.do("too many", linux.SYS_SETGROUPS, linux.NGROUPS_MAX+1, addr(new(uint32)))
			k.do("nowhere", linux.SYS_SETGROUPS, 1, 0)
			set(^uint32(0))
			set()
			k.do("setuid", linux.SYS_SETUID, 1000)
			set(3)
		})
	})
}

func TestCapabilitiesAreGivenUpAsOnLinux(t *testing.T) {
	needRoot(t)
	asRoot(func() {
		differ(t, func(t *testing.T, k *kernel) {
			h := &linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3}
			set := func(effective, permitted, inheritable uint32) {
				d := &[2]linux.CapData{{Effective: effective, Permitted: permitted, Inheritable: inheritable}}
				k.do("capset", linux.SYS_CAPSET, addr(h), addr(d))
				k.identity()
			}
			const setuid, setgid, chown, setpcap = 1 << linux.CAP_SETUID, 1 << linux.CAP_SETGID, 1 << linux.CAP_CHOWN, 1 << linux.CAP_SETPCAP
			k.do("drop none", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, 99)
			k.do("drop", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, linux.CAP_CHOWN)
			k.do("dropped", linux.SYS_PRCTL, linux.PR_CAPBSET_READ, linux.CAP_CHOWN)
			k.do("there", linux.SYS_PRCTL, linux.PR_CAPBSET_READ, linux.CAP_SETUID)
			set(setuid|setgid, setuid|setgid|chown, chown)
			set(setuid|setgid, setuid|setgid, setuid)
			set(setuid, setuid|setpcap, 0)
			set(chown, setuid, 0)
			k.do("setgid without", linux.SYS_SETGID, 5)
			k.do("drop without", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, linux.CAP_SETUID)
			k.do("drop none without", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, 99)
			set(setgid, setuid|setgid, 0)
			k.do("setuid without", linux.SYS_SETUID, 5)
			set(0, 0, 0)
			k.do("another's", linux.SYS_CAPSET, addr(&linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3, PID: 99999999}), addr(new([2]linux.CapData)))
			k.do("another's", linux.SYS_CAPGET, addr(&linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3, PID: 99999999}), addr(new([2]linux.CapData)))
		})
	})
}

// received writes the credentials of a message down, the own process as 1.
func (k *kernel) received(fd uintptr) {
	oob, buf := make([]byte, 64), make([]byte, 8)
	h := msg(oob, nil, buf)
	if n, errno := k.raw(linux.SYS_RECVMSG, fd, addr(h), 0); errno != 0 {
		k.note("%d %v", n, errno)
		return
	}
	msgs, _ := unix.ParseSocketControlMessage(oob[:h.Controllen])
	for _, m := range msgs {
		c, err := unix.ParseUnixCredentials(&m)
		k.note("%v %v", k.anyPID(*c), err)
	}
}

func (k *kernel) anyPID(c unix.Ucred) unix.Ucred {
	if pid, _ := k.raw(linux.SYS_GETPID); c.Pid == int32(pid) {
		c.Pid = 1
	}
	return c
}

func TestSocketsTellWhoTheProgramIsAsOnLinux(t *testing.T) {
	needRoot(t)
	for _, typ := range []int{stream, dgram} {
		asRoot(func() {
			differ(t, func(t *testing.T, k *kernel) {
				pid, _ := k.raw(linux.SYS_GETPID)
				a, b := k.socketpair(t, typ|nonblock)
				on := int32(1)
				k.raw(linux.SYS_SETSOCKOPT, b, linux.SOL_SOCKET, linux.SO_PASSCRED, addr(&on), 4)
				give := func(uid, gid uint32) {
					c := unix.UnixCredentials(&unix.Ucred{Pid: int32(pid), Uid: uid, Gid: gid})
					k.sendmsg("give", a, 0, msg(c, nil, []byte("given")))
					k.received(b)
				}
				k.write("as root", a, "root")
				give(5, 6)
				k.do("setresgid", linux.SYS_SETRESGID, 7, 8, 9)
				k.do("setresuid", linux.SYS_SETRESUID, 1, 2, 3)
				k.write("as another", a, "another")
				k.received(b)
				k.received(b)
				give(1, 7)
				give(2, 9)
				give(4, 7)
				give(1, 4)
				c, d := k.socketpair(t, typ|nonblock)
				n, peer := new(int32), new(unix.Ucred)
				*n = 12
				k.do("peer", linux.SYS_GETSOCKOPT, c, linux.SOL_SOCKET, linux.SO_PEERCRED, addr(peer), addr(n))
				k.note("%v", k.anyPID(*peer))
				k.close(a, b, c, d)
			})
		})
	}
}

func TestSocketsOfOthersRefuseAsOnLinux(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for parent := dir; parent != "/tmp" && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	asRoot(func() {
		differ(t, func(t *testing.T, k *kernel) {
			path := dir + "/socket"
			made := ""
			for _, name := range strings.Split(dir, "/")[1:] {
				made += "/" + name
				k.raw(linux.SYS_MKDIR, addr(unsafe.StringData(made+"\x00")), 0o755)
			}
			s, c := k.socket(t, dgram), k.socket(t, dgram)
			sa := unixAddr(path)
			k.do("bind", linux.SYS_BIND, s, addr(&sa[0]), uintptr(len(sa)))
			k.do("connect", linux.SYS_CONNECT, c, addr(&sa[0]), uintptr(len(sa)))
			k.do("setuid", linux.SYS_SETUID, 1000)
			k.do("connect", linux.SYS_CONNECT, c, addr(&sa[0]), uintptr(len(sa)))
			k.sendto("send", c, "x", 0, path)
			k.sendto("send to nobody", c, "x", 0, dir+"/none")
			own := unixAddr(dir + "/own")
			d := k.socket(t, dgram)
			k.do("bind", linux.SYS_BIND, d, addr(&own[0]), uintptr(len(own)))
			k.close(s, c, d)
		})
	})
}

func TestRandomFileOperationsOfUsersAsOnLinux(t *testing.T) {
	needRoot(t)
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
	// Linux asks who opened the descriptor.
	all = slices.DeleteFunc(all, func(o operation) bool { return o.name == "link open" })
	for seed := range rounds {
		asRoot(func() {
			if !compareOperations(t, randomProgram(seed), "/tmp", all) {
				t.Errorf("seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// become makes the world's program a user who can become root again.
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

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user: run the test as root")
	}
}
