package trace

import (
	"strings"

	"github.com/pith-os/pith/libos/linux"
)

// calls has the argument formats of system calls, one line each: the name, one code for
// each argument, and '=' with a code for the result unless it is a plain number. A word
// in braces names a set in flags.go. The other codes:
//
//	d l u x o  int, long, unsigned, hexadecimal, octal   p pointer
//	f D        descriptor, and one that may be AT_FDCWD   s string
//	g          group or user, -1 for none                 M mode with file type
//	O          octal, when the flags before it create     w bytes; the next argument is their number
//	v a m      iovec, sockaddr, msghdr                    t 2 i timespec, two of them, itimerspec
//	e q F      epoll_event, pollfd, fd_set                k socket option's value
//	b          socket option's name                       r socket's protocol
//	z          pointer to an offset
//
// and for what the call fills in:
//
//	R H        bytes; the result is their number          G string
//	S X U      stat, statx, utsname                       P two ints
//	V A B      iovec, sockaddr, msghdr                    n length of the argument before
//	T J Q L    timespec, itimerspec, timeval, rlimit      E epoll_events
//	K          socket option's value                      Y directory entries
//	C I        the argument of fcntl's command, ioctl's request
const calls = `
read fRu
write fwu
open s{O_}O
close f
stat sS
fstat fS
lstat sS
poll qud=q
lseek fl{SEEK_}
mmap pu{PROT_}{MAP_}fx=x
mprotect pu{PROT_}
munmap pu
brk p=x
rt_sigaction {SIG}ppu
rt_sigprocmask dppu
ioctl f{IOCTL}I
pread64 fRul
pwrite64 fwul
readv fVu
writev fvu
access s{ACCESS}
pipe P
select dFFFp
sched_yield
mremap puu{MREMAP_}p=x
msync pu{MS_}
mincore pup
madvise pu{MADV_}
dup f
dup2 ff
pause
nanosleep tp
getitimer dp
alarm u
setitimer dpp
getpid
sendfile ffzu
socket {AF_}{SOCK_}r
connect fad
accept fAn
sendto fwu{MSG_}ad
recvfrom fRu{MSG_}An
sendmsg fm{MSG_}
recvmsg fB{MSG_}
shutdown f{SHUT_}
bind fad
listen fd
getsockname fAn
getpeername fAn
socketpair {AF_}{SOCK_}rP
setsockopt f{SOL_}bkd
getsockopt f{SOL_}bKn
clone xpppx
fork
vfork
execve spp
exit d
wait4 dpdp
kill d{SIG}
uname U
fcntl f{F_}C=f
flock f{LOCK_}
fsync f
fdatasync f
truncate sl
ftruncate fl
getdents fYu
getcwd Gu
chdir s
fchdir f
rename ss
mkdir so
rmdir s
creat so
link ss
unlink s
symlink ss
readlink sRu
chmod so
fchmod fo
chown sgg
fchown fgg
lchown sgg
umask o=o
gettimeofday Qp
getrlimit {RLIMIT_}L
getrusage {RUSAGE_}p
sysinfo p
times p
ptrace xdpp
getuid
syslog dpd
getgid
setuid g
setgid g
geteuid
getegid
setpgid dd
getppid
getpgrp
setsid
setreuid gg
setregid gg
getgroups dp
setgroups dp
setresuid ggg
getresuid ppp
setresgid ggg
getresgid ppp
getpgid d
getsid d
capget pp
capset pp
rt_sigpending pu
rt_sigtimedwait pppu
rt_sigsuspend pu
sigaltstack pp
utime sp
mknod sM
personality x
statfs sp
fstatfs fp
getpriority dd
setpriority ddd
sched_setparam dp
sched_getparam dp
sched_setscheduler ddp
sched_getscheduler d
sched_get_priority_max d
sched_get_priority_min d
sched_rr_get_interval dT
mlock pu
munlock pu
mlockall x
munlockall
pivot_root ss
prctl dxxxx
arch_prctl xp
adjtimex p
setrlimit {RLIMIT_}p
chroot s
sync
settimeofday pp
mount sssxp
umount2 sx
reboot xxxp
sethostname wu
setdomainname wu
gettid
readahead flu
setxattr sspux
lsetxattr sspux
fsetxattr fspux
getxattr sspu
lgetxattr sspu
fgetxattr fspu
listxattr spu
llistxattr spu
flistxattr fpu
removexattr ss
lremovexattr ss
fremovexattr fs
tkill d{SIG}
time p
futex pdutpu
sched_setaffinity dup
sched_getaffinity dup
epoll_create d
getdents64 fYu
set_tid_address p
fadvise64 flu{POSIX_FADV_}
timer_create {CLOCK_}pp
timer_settime pdpp
timer_gettime pp
timer_getoverrun p
timer_delete p
clock_settime {CLOCK_}t
clock_gettime {CLOCK_}T
clock_getres {CLOCK_}T
clock_nanosleep {CLOCK_}{TIMER_}tp
exit_group d
epoll_wait fEdd
epoll_ctl f{EPOLL_CTL_}fe
tgkill dd{SIG}
utimes sp
waitid ddpxp
inotify_init
inotify_add_watch fs{IN_}
inotify_rm_watch fd
openat Ds{O_}O
mkdirat Dso
mknodat DsM
fchownat Dsgg{AT_}
futimesat Dsp
newfstatat DsS{AT_}
unlinkat Ds{AT_R}
renameat DsDs
linkat DsDs{AT_}
symlinkat sDs
readlinkat DsRu
fchmodat Dso
faccessat Ds{ACCESS}
pselect6 dFFFtp
ppoll qutpu=q
unshare x
splice fzfzu{SPLICE_F_}
tee ffu{SPLICE_F_}
sync_file_range fllx
vmsplice fvu{SPLICE_F_}
utimensat Ds2{AT_}
epoll_pwait fEddpu
signalfd fpu
timerfd_create {CLOCK_}{TFD_}
eventfd u
fallocate f{FALLOC_FL_}ll
timerfd_settime f{TFD_TIMER_}iJ
timerfd_gettime fJ
accept4 fAn{SOCK_}
signalfd4 fpux
eventfd2 u{EFD_}
epoll_create1 {EPOLL_}
dup3 ff{O_C}
pipe2 P{O_C}
inotify_init1 {IN_I}
preadv fVul
pwritev fvul
perf_event_open pddfx
recvmmsg fpu{MSG_}t
fanotify_init xx
prlimit64 d{RLIMIT_}pL
process_vm_readv dpupux
process_vm_writev dpupux
sched_setattr dpx
sched_getattr dpux
renameat2 DsDs{RENAME_}
seccomp xxp
getrandom Hu{GRND_}
memfd_create s{MFD_}
bpf dpu
execveat Dsppx
userfaultfd x
membarrier xxd
mlock2 pux
copy_file_range fzfzux
preadv2 fVulx
pwritev2 fvulx
statx Ds{AT_X}{STATX_}X
rseq pxxx
sendmmsg fpu{MSG_}
pidfd_send_signal f{SIG}px
io_uring_setup up
io_uring_enter fuuxpu
io_uring_register fupu
pidfd_open dx
clone3 pu
close_range uux
openat2 Dspu
pidfd_getfd ffx
faccessat2 Ds{ACCESS}{AT_E}
epoll_pwait2 fEdtpu
landlock_create_ruleset pux
fchmodat2 Dso{AT_}
`

// parseCalls returns the formats by number.
func parseCalls() map[uintptr]string {
	byName := map[string]string{}
	for line := range strings.Lines(calls) {
		name, format, _ := strings.Cut(strings.TrimSpace(line), " ")
		byName[name] = format
	}
	formats := map[uintptr]string{}
	for num := range uintptr(linux.MaxSyscall + 1) {
		if format, ok := byName[linux.SyscallName(num)]; ok {
			formats[num] = format
		}
	}
	return formats
}

// unknown is the format of a call without an entry in calls.
const unknown = "xxxxxx"
