package linux

// Utsname is struct new_utsname (uname(2)): zero-terminated strings.
type Utsname struct {
	Sysname    [65]byte
	Nodename   [65]byte
	Release    [65]byte
	Version    [65]byte
	Machine    [65]byte
	Domainname [65]byte
}

// Sysinfo is struct sysinfo (sysinfo(2)), 112 bytes.
type Sysinfo struct {
	Uptime    int64
	Loads     [3]uint64
	Totalram  uint64
	Freeram   uint64
	Sharedram uint64
	Bufferram uint64
	Totalswap uint64
	Freeswap  uint64
	Procs     uint16
	_         [6]byte
	Totalhigh uint64
	Freehigh  uint64
	Unit      uint32
	_         [4]byte
}

// Rusage is struct rusage (getrusage(2)), 144 bytes.
type Rusage struct {
	Utime  Timeval
	Stime  Timeval
	Maxrss int64 // KiB
	_      [13]int64
}

// Whose usage getrusage(2) returns.
const (
	RUSAGE_SELF     = 0
	RUSAGE_CHILDREN = -1
	RUSAGE_THREAD   = 1
)

// Tms is struct tms (times(2)), in ticks of 1/100 s.
type Tms struct {
	Utime, Stime, Cutime, Cstime int64
}

// Rlimit is struct rlimit64 (prlimit(2)).
type Rlimit struct {
	Cur, Max uint64
}

// Resources of getrlimit(2) (include/uapi/asm-generic/resource.h).
const (
	RLIMIT_CPU        = 0
	RLIMIT_FSIZE      = 1
	RLIMIT_DATA       = 2
	RLIMIT_STACK      = 3
	RLIMIT_CORE       = 4
	RLIMIT_RSS        = 5
	RLIMIT_NPROC      = 6
	RLIMIT_NOFILE     = 7
	RLIMIT_MEMLOCK    = 8
	RLIMIT_AS         = 9
	RLIMIT_LOCKS      = 10
	RLIMIT_SIGPENDING = 11
	RLIMIT_MSGQUEUE   = 12
	RLIMIT_NICE       = 13
	RLIMIT_RTPRIO     = 14
	RLIMIT_RTTIME     = 15
	RLIM_NLIMITS      = 16

	RLIM_INFINITY = 1<<64 - 1
)

// Scheduling policies (sched(7)).
const (
	SCHED_OTHER = 0
	SCHED_FIFO  = 1
	SCHED_RR    = 2
	SCHED_BATCH = 3
	SCHED_IDLE  = 5
)

// Flags of getrandom(2).
const (
	GRND_NONBLOCK = 1
	GRND_RANDOM   = 2
	GRND_INSECURE = 4
)

// Operations of prctl(2) (include/uapi/linux/prctl.h).
const (
	PR_SET_PDEATHSIG       = 1
	PR_GET_PDEATHSIG       = 2
	PR_GET_DUMPABLE        = 3
	PR_SET_DUMPABLE        = 4
	PR_GET_KEEPCAPS        = 7
	PR_SET_KEEPCAPS        = 8
	PR_SET_NAME            = 15
	PR_GET_NAME            = 16
	PR_GET_SECCOMP         = 21
	PR_CAPBSET_READ        = 23
	PR_CAPBSET_DROP        = 24
	PR_SET_TIMERSLACK      = 29
	PR_GET_TIMERSLACK      = 30
	PR_SET_CHILD_SUBREAPER = 36
	PR_GET_CHILD_SUBREAPER = 37
	PR_SET_NO_NEW_PRIVS    = 38
	PR_GET_NO_NEW_PRIVS    = 39
	PR_SET_THP_DISABLE     = 41
	PR_GET_THP_DISABLE     = 42
)

// Capabilities (capabilities(7)) that the library OS asks for.
const (
	CAP_CHOWN           = 0
	CAP_DAC_OVERRIDE    = 1
	CAP_DAC_READ_SEARCH = 2
	CAP_FOWNER          = 3
	CAP_FSETID          = 4
	CAP_SETGID          = 6
	CAP_SETUID          = 7
	CAP_SETPCAP         = 8
	CAP_LINUX_IMMUTABLE = 9
	CAP_NET_RAW         = 13
	CAP_SYS_ADMIN       = 21
	CAP_SYS_RESOURCE    = 24
	CAP_MKNOD           = 27
	CAP_MAC_OVERRIDE    = 32
	CAP_LAST_CAP        = 40
)

// Versions of capget(2)'s structures.
const (
	LINUX_CAPABILITY_VERSION_1 = 0x19980330
	LINUX_CAPABILITY_VERSION_2 = 0x20071026
	LINUX_CAPABILITY_VERSION_3 = 0x20080522
)

// CapHeader and CapData are capget(2)'s structures. Versions 2 and 3 have two CapData: the
// low words of the sets come first.
type (
	CapHeader struct {
		Version uint32
		PID     int32
	}
	CapData struct {
		Effective, Permitted, Inheritable uint32
	}
)

// NGROUPS_MAX is the largest number of supplementary groups.
const NGROUPS_MAX = 65536

// Operations and flags of futex(2).
const (
	FUTEX_WAIT           = 0
	FUTEX_WAKE           = 1
	FUTEX_WAIT_BITSET    = 9
	FUTEX_WAKE_BITSET    = 10
	FUTEX_PRIVATE_FLAG   = 128
	FUTEX_CLOCK_REALTIME = 256
)
