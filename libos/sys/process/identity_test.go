package process_test

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
)

// identity logs ids and capabilities.
func identity(k *systest.Kernel) {
	ids := new([6]uint32)
	k.Raw(linux.SYS_GETRESUID, systest.Addr(&ids[0]), systest.Addr(&ids[1]), systest.Addr(&ids[2]))
	k.Raw(linux.SYS_GETRESGID, systest.Addr(&ids[3]), systest.Addr(&ids[4]), systest.Addr(&ids[5]))
	k.Note("%d", int32s(ids[:]))
	k.Do("fsuid", linux.SYS_SETFSUID, ^uintptr(0))
	k.Do("fsgid", linux.SYS_SETFSGID, ^uintptr(0))
	caps := new([2]linux.CapData)
	k.Raw(linux.SYS_CAPGET, systest.Addr(&linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3}), systest.Addr(caps))
	// The host may have taken others from the test.
	const some = 1<<linux.CAP_SETUID | 1<<linux.CAP_SETGID | 1<<linux.CAP_CHOWN | 1<<linux.CAP_DAC_OVERRIDE
	k.Note("%#x %#x %#x", caps[0].Effective&some, caps[0].Permitted&some, caps[0].Inheritable&some)
}

func int32s(ids []uint32) (signed []int32) {
	for _, id := range ids {
		signed = append(signed, int32(id))
	}
	return signed
}

func TestIdentitiesChangeAsOnLinux(t *testing.T) {
	systest.NeedRoot(t)
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
			systest.AsRoot(func() {
				systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
					for _, s := range steps {
						k.Do(s.name, calls[s.name], uintptr(s.args[0]), uintptr(s.args[1]), uintptr(s.args[2]))
						identity(k)
					}
				})
			})
		})
	}
}

func TestGroupsAsOnLinux(t *testing.T) {
	systest.NeedRoot(t)
	systest.AsRoot(func() {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			set := func(groups ...uint32) {
				k.Do("setgroups", linux.SYS_SETGROUPS, uintptr(len(groups)), systest.Addr(&append(groups, 0)[0]))
				got := new([4]uint32)
				k.Do("getgroups", linux.SYS_GETGROUPS, 4, systest.Addr(got))
				k.Note("%v", *got)
			}
			set(5, 3, 4)
			k.Do("how many", linux.SYS_GETGROUPS, 0, 0)
			k.Do("too few", linux.SYS_GETGROUPS, 2, systest.Addr(new([2]uint32)))
			k.Do("negative", linux.SYS_GETGROUPS, ^uintptr(0), 0)
			k.Do("too many", linux.SYS_SETGROUPS, linux.NGROUPS_MAX+1, systest.Addr(new(uint32)))
			k.Do("nowhere", linux.SYS_SETGROUPS, 1, 0)
			set(^uint32(0))
			set()
			k.Do("setuid", linux.SYS_SETUID, 1000)
			set(3)
		})
	})
}

func TestCapabilitiesAreGivenUpAsOnLinux(t *testing.T) {
	systest.NeedRoot(t)
	systest.AsRoot(func() {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			h := &linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3}
			set := func(effective, permitted, inheritable uint32) {
				d := &[2]linux.CapData{{Effective: effective, Permitted: permitted, Inheritable: inheritable}}
				k.Do("capset", linux.SYS_CAPSET, systest.Addr(h), systest.Addr(d))
				identity(k)
			}
			const setuid, setgid, chown, setpcap = 1 << linux.CAP_SETUID, 1 << linux.CAP_SETGID, 1 << linux.CAP_CHOWN, 1 << linux.CAP_SETPCAP
			k.Do("drop none", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, 99)
			k.Do("drop", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, linux.CAP_CHOWN)
			k.Do("dropped", linux.SYS_PRCTL, linux.PR_CAPBSET_READ, linux.CAP_CHOWN)
			k.Do("there", linux.SYS_PRCTL, linux.PR_CAPBSET_READ, linux.CAP_SETUID)
			set(setuid|setgid, setuid|setgid|chown, chown)
			set(setuid|setgid, setuid|setgid, setuid)
			set(setuid, setuid|setpcap, 0)
			set(chown, setuid, 0)
			k.Do("setgid without", linux.SYS_SETGID, 5)
			k.Do("drop without", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, linux.CAP_SETUID)
			k.Do("drop none without", linux.SYS_PRCTL, linux.PR_CAPBSET_DROP, 99)
			set(setgid, setuid|setgid, 0)
			k.Do("setuid without", linux.SYS_SETUID, 5)
			set(0, 0, 0)
			k.Do("another's", linux.SYS_CAPSET, systest.Addr(&linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3, PID: 99999999}), systest.Addr(new([2]linux.CapData)))
			k.Do("another's", linux.SYS_CAPGET, systest.Addr(&linux.CapHeader{Version: linux.LINUX_CAPABILITY_VERSION_3, PID: 99999999}), systest.Addr(new([2]linux.CapData)))
		})
	})
}
