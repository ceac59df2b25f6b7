package sockets_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
	"golang.org/x/sys/unix"
)

// received logs the credentials of a message, with this process as 1.
func received(k *systest.Kernel, fd uintptr) {
	oob, buf := make([]byte, 64), make([]byte, 8)
	h := msg(oob, nil, buf)
	if n, errno := k.Raw(linux.SYS_RECVMSG, fd, systest.Addr(h), 0); errno != 0 {
		k.Note("%d %v", n, errno)
		return
	}
	msgs, _ := unix.ParseSocketControlMessage(oob[:h.Controllen])
	for _, m := range msgs {
		c, err := unix.ParseUnixCredentials(&m)
		k.Note("%v %v", anyPID(k, *c), err)
	}
}

func anyPID(k *systest.Kernel, c unix.Ucred) unix.Ucred {
	if pid, _ := k.Raw(linux.SYS_GETPID); c.Pid == int32(pid) {
		c.Pid = 1
	}
	return c
}

func TestSocketsTellWhoTheProgramIsAsOnLinux(t *testing.T) {
	systest.NeedRoot(t)
	for _, typ := range []int{stream, dgram} {
		systest.AsRoot(func() {
			systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
				pid, _ := k.Raw(linux.SYS_GETPID)
				a, b := k.Socketpair(t, typ|nonblock)
				on := int32(1)
				k.Raw(linux.SYS_SETSOCKOPT, b, linux.SOL_SOCKET, linux.SO_PASSCRED, systest.Addr(&on), 4)
				give := func(uid, gid uint32) {
					c := unix.UnixCredentials(&unix.Ucred{Pid: int32(pid), Uid: uid, Gid: gid})
					sendmsg(k, "give", a, 0, msg(c, nil, []byte("given")))
					received(k, b)
				}
				k.Write("as root", a, "root")
				give(5, 6)
				k.Do("setresgid", linux.SYS_SETRESGID, 7, 8, 9)
				k.Do("setresuid", linux.SYS_SETRESUID, 1, 2, 3)
				k.Write("as another", a, "another")
				received(k, b)
				received(k, b)
				give(1, 7)
				give(2, 9)
				give(4, 7)
				give(1, 4)
				c, d := k.Socketpair(t, typ|nonblock)
				n, peer := new(int32), new(unix.Ucred)
				*n = 12
				k.Do("peer", linux.SYS_GETSOCKOPT, c, linux.SOL_SOCKET, linux.SO_PEERCRED, systest.Addr(peer), systest.Addr(n))
				k.Note("%v", anyPID(k, *peer))
				k.Close(a, b, c, d)
			})
		})
	}
}

func TestSocketsOfOthersRefuseAsOnLinux(t *testing.T) {
	systest.NeedRoot(t)
	dir := t.TempDir()
	for parent := dir; parent != "/tmp" && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	systest.AsRoot(func() {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			path := dir + "/socket"
			made := ""
			for _, name := range strings.Split(dir, "/")[1:] {
				made += "/" + name
				k.Raw(linux.SYS_MKDIR, systest.Addr(unsafe.StringData(made+"\x00")), 0o755)
			}
			s, c := socket(k, t, dgram), socket(k, t, dgram)
			sa := unixAddr(path)
			k.Do("bind", linux.SYS_BIND, s, systest.Addr(&sa[0]), uintptr(len(sa)))
			k.Do("connect", linux.SYS_CONNECT, c, systest.Addr(&sa[0]), uintptr(len(sa)))
			k.Do("setuid", linux.SYS_SETUID, 1000)
			k.Do("connect", linux.SYS_CONNECT, c, systest.Addr(&sa[0]), uintptr(len(sa)))
			sendto(k, "send", c, "x", 0, path)
			sendto(k, "send to nobody", c, "x", 0, dir+"/none")
			own := unixAddr(dir + "/own")
			d := socket(k, t, dgram)
			k.Do("bind", linux.SYS_BIND, d, systest.Addr(&own[0]), uintptr(len(own)))
			k.Close(s, c, d)
		})
	})
}
