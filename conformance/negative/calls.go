package negative

import (
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// processFlags are those of fork(2): no shared memory.
const processFlags = uint64(unix.SIGCHLD)

const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_SYSVSEM | unix.CLONE_THREAD

// calls are system calls that are not permitted with any arguments.
var calls = []Attempt{
	syscall("a system call of its own", unix.SYS_GETPID),
	syscall("a number that does not exist", 5000),
	{"execve", func(p *program) {
		path := p.CString("/bin/sh")
		p.Syscall(unix.SYS_EXECVE, path, imm(0), imm(0))
	}, Forbidden},
	{"openat", func(p *program) {
		p.Syscall(unix.SYS_OPENAT, imm(boot.FDRandom), p.CString("/etc/passwd"), imm(unix.O_RDONLY))
	}, Forbidden},
	syscall("openat2", unix.SYS_OPENAT2, 0, tinyelf.DataAddr, tinyelf.DataAddr, 24),
	syscall("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, 7, tinyelf.DataAddr, 0),
	syscall("socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0),
	syscall("connect", unix.SYS_CONNECT, boot.FDListen, tinyelf.DataAddr, 16),
	syscall("recvmsg, which could receive descriptors", unix.SYS_RECVMSG, boot.FDControl, tinyelf.DataAddr, 0),
	syscall("sendmsg, which could send descriptors", unix.SYS_SENDMSG, boot.FDControl, tinyelf.DataAddr, 0),
	syscall("ptrace", unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0, 0),
	syscall("process_vm_readv", unix.SYS_PROCESS_VM_READV, 1, tinyelf.DataAddr, 1, tinyelf.DataAddr, 1, 0),
	syscall("clone3, whose arguments no filter can see", unix.SYS_CLONE3, tinyelf.DataAddr, 88),
	syscall("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	syscall("setns", unix.SYS_SETNS, 3, 0),
	syscall("mount", unix.SYS_MOUNT, tinyelf.DataAddr, tinyelf.DataAddr, tinyelf.DataAddr, 0, 0),
	syscall("chroot", unix.SYS_CHROOT, tinyelf.DataAddr),
	syscall("kill", unix.SYS_KILL, ^uint64(0), uint64(unix.SIGTERM)),
	syscall("ioctl", unix.SYS_IOCTL, boot.FDStdout, unix.TIOCSTI, tinyelf.DataAddr),
	syscall("fcntl", unix.SYS_FCNTL, boot.FDStdout, unix.F_GETFL, 0),
	syscall("dup", unix.SYS_DUP, boot.FDControl),
	syscall("prctl", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1),
	syscall("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, tinyelf.DataAddr),
	syscall("setrlimit", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, tinyelf.DataAddr, 0),
	syscall("bpf", unix.SYS_BPF, 0, tinyelf.DataAddr, 0),
	syscall("io_uring_setup", unix.SYS_IO_URING_SETUP, 8, tinyelf.DataAddr),
	syscall("userfaultfd", unix.SYS_USERFAULTFD, 0),
	syscall("memfd_create", unix.SYS_MEMFD_CREATE, tinyelf.DataAddr, 0),
	syscall("remap_file_pages", unix.SYS_REMAP_FILE_PAGES, tinyelf.DataAddr, 4096, 0, 0, 0),
	syscall("mremap", unix.SYS_MREMAP, tinyelf.DataAddr, 4096, 8192, 1),
	syscall("setuid", unix.SYS_SETUID, 0),
}

// hostNetwork are attempts of an image in the network of a namespace, which may send to any
// address. All others must fail there, too.
var hostNetwork = []Attempt{
	syscall("sendto that connects", unix.SYS_SENDTO, boot.FDListen, tinyelf.DataAddr, 8, unix.MSG_FASTOPEN, tinyelf.DataAddr, 16),
	syscall("sendto on the control channel", unix.SYS_SENDTO, boot.FDControl, tinyelf.DataAddr, 8, 0, tinyelf.DataAddr, 16),
	syscall("sendmsg that connects", unix.SYS_SENDMSG, boot.FDListen, tinyelf.DataAddr, unix.MSG_FASTOPEN),
	syscall("sendmsg that pins memory", unix.SYS_SENDMSG, boot.FDListen, tinyelf.DataAddr, unix.MSG_ZEROCOPY),
	syscall("sendmsg on the control channel", unix.SYS_SENDMSG, boot.FDControl, tinyelf.DataAddr, 0),
	syscall("sendmsg to the server of host sockets", unix.SYS_SENDMSG, boot.FDSockets, tinyelf.DataAddr, 0),
	syscall("socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0),
	syscall("bind", unix.SYS_BIND, boot.FDListen, tinyelf.DataAddr, 16),
	syscall("listen", unix.SYS_LISTEN, boot.FDListen, 5),
	syscall("connect", unix.SYS_CONNECT, boot.FDListen, tinyelf.DataAddr, 16),
	syscall("sendmmsg", unix.SYS_SENDMMSG, boot.FDListen, tinyelf.DataAddr, 1, 0),
	syscall("accept4 of a blocking connection", unix.SYS_ACCEPT4, boot.FDListen, 0, 0, 0),
	syscall("lseek of a table", unix.SYS_LSEEK, boot.FDListen, 0, 0),
	option("a mark", unix.SOL_SOCKET, unix.SO_MARK),
	option("a foreign address", unix.SOL_IP, unix.IP_TRANSPARENT),
	option("a socket filter", unix.SOL_SOCKET, unix.SO_ATTACH_FILTER),
}

// option is setsockopt(2) on a connection.
func option(name string, level, number uint64) Attempt {
	return syscall("setsockopt of "+name, unix.SYS_SETSOCKOPT, boot.FDListen, level, number, tinyelf.DataAddr, 16)
}

// arguments are permitted system calls with arguments that are not.
var arguments = []Attempt{
	{"a second use of the exec descriptor", func(p *program) {
		p.Syscall(unix.SYS_EXECVEAT, imm(boot.FDListen), p.CString(""), imm(0), imm(0), imm(unix.AT_EMPTY_PATH))
	}, Forbidden},
	{"execveat of a path", func(p *program) {
		p.Syscall(unix.SYS_EXECVEAT, imm(boot.FDListen), p.CString("/bin/sh"), imm(0), imm(0), imm(0))
	}, Forbidden},
	{"the exec descriptor is closed", func(p *program) {
		p.Syscall(unix.SYS_READ, imm(boot.FDListen), p.Data(make([]byte, 8)), imm(8))
		p.ExitErrno()
	}, BadDescriptor},
	{"the jail's status descriptor is closed", func(p *program) {
		p.Syscall(unix.SYS_WRITE, imm(boot.FDListen+1), p.Data(make([]byte, 8)), imm(8))
		p.ExitErrno()
	}, BadDescriptor},
	syscall("clone of a process", unix.SYS_CLONE, processFlags, 0, 0, 0, 0),
	syscall("clone of a process that shares memory", unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|processFlags, 0, 0, 0, 0),
	syscall("clone of a thread in a new namespace", unix.SYS_CLONE, threadFlags|unix.CLONE_NEWUSER, 0, 0, 0, 0),
	syscall("clone of an untraced thread", unix.SYS_CLONE, threadFlags|unix.CLONE_UNTRACED, 0, 0, 0, 0),
	syscall("mmap of a file", unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE, boot.FDRandom, 0),
	syscall("mmap of shared memory", unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uint64(0), 0),
	syscall("mmap of executable memory", unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uint64(0), 0),
	syscall("mmap of a stack that grows", unix.SYS_MMAP, 0, 4096, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_GROWSDOWN, ^uint64(0), 0),
	syscall("mprotect to executable", unix.SYS_MPROTECT, tinyelf.DataAddr, 4096, unix.PROT_READ|unix.PROT_EXEC),
	syscall("mprotect with a bit in the upper half", unix.SYS_MPROTECT, tinyelf.DataAddr, 4096, 1<<32|unix.PROT_READ),
	syscall("madvise that the runtime does not use", unix.SYS_MADVISE, tinyelf.DataAddr, 4096, unix.MADV_MERGEABLE),
	syscall("read of the control channel", unix.SYS_READ, boot.FDControl, tinyelf.DataAddr, 8),
	syscall("read of packets without a network device", unix.SYS_READ, boot.FDPackets, tinyelf.DataAddr, 8),
	syscall("read of files without folders", unix.SYS_READ, boot.FDFiles, tinyelf.DataAddr, 8),
	syscall("write to standard input", unix.SYS_WRITE, boot.FDStdin, tinyelf.DataAddr, 8),
	syscall("write to the entropy device", unix.SYS_WRITE, boot.FDRandom, tinyelf.DataAddr, 8),
	syscall("close of standard output", unix.SYS_CLOSE, boot.FDStdout),
	syscall("shutdown of the control channel", unix.SYS_SHUTDOWN, boot.FDControl, unix.SHUT_RDWR),
	syscall("accept4 on the control channel", unix.SYS_ACCEPT4, boot.FDControl, 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC),
	syscall("epoll_ctl on another descriptor", unix.SYS_EPOLL_CTL, boot.FDWake, unix.EPOLL_CTL_ADD, 0, tinyelf.DataAddr),
	syscall("epoll_pwait with a signal mask", unix.SYS_EPOLL_PWAIT, boot.FDEpoll, tinyelf.DataAddr, 1, 0, tinyelf.DataAddr, 8),
	syscall("futex that is shared", unix.SYS_FUTEX, tinyelf.DataAddr, 1, 1),
	syscall("futex with priority inheritance", unix.SYS_FUTEX, tinyelf.DataAddr, 6|128, 0),
	syscall("sendto with an address", unix.SYS_SENDTO, boot.FDListen, tinyelf.DataAddr, 8, 0, tinyelf.DataAddr, 16),
	syscall("sendto that connects", unix.SYS_SENDTO, boot.FDListen, tinyelf.DataAddr, 8, unix.MSG_FASTOPEN, 0, 0),
	syscall("sendto that pins memory", unix.SYS_SENDTO, boot.FDListen, tinyelf.DataAddr, 8, unix.MSG_ZEROCOPY, 0, 0),
	syscall("sendto on the control channel", unix.SYS_SENDTO, boot.FDControl, tinyelf.DataAddr, 8, 0, 0, 0),
	syscall("recvfrom of device memory", unix.SYS_RECVFROM, boot.FDListen, tinyelf.DataAddr, 8, 0x2000000, 0, 0), // MSG_SOCK_DEVMEM
	syscall("writev on standard output", unix.SYS_WRITEV, boot.FDStdout, tinyelf.DataAddr, 1),
	syscall("recvmsg without host sockets", unix.SYS_RECVMSG, boot.FDSockets, tinyelf.DataAddr, unix.MSG_DONTWAIT),
	syscall("getsockname of the control channel", unix.SYS_GETSOCKNAME, boot.FDControl, tinyelf.DataAddr, tinyelf.DataAddr),
	option("a socket filter", unix.SOL_SOCKET, unix.SO_ATTACH_FILTER),
	option("a BPF program", unix.SOL_SOCKET, unix.SO_ATTACH_BPF),
	option("a device", unix.SOL_SOCKET, unix.SO_BINDTODEVICE),
	option("a mark", unix.SOL_SOCKET, unix.SO_MARK),
	option("a buffer size", unix.SOL_SOCKET, unix.SO_SNDBUF),
	option("a forced buffer size", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE),
	option("zero-copy", unix.SOL_SOCKET, unix.SO_ZEROCOPY),
	option("an upper-layer protocol", unix.SOL_TCP, unix.TCP_ULP),
	option("repair mode", unix.SOL_TCP, unix.TCP_REPAIR),
	option("fast open", unix.SOL_TCP, unix.TCP_FASTOPEN),
	option("a congestion control module", unix.SOL_TCP, unix.TCP_CONGESTION),
	option("IP options", unix.SOL_IP, unix.IP_OPTIONS),
	option("a foreign address", unix.SOL_IP, unix.IP_TRANSPARENT),
	option("a group", unix.SOL_IP, unix.IP_ADD_MEMBERSHIP),
	option("a packet filter", unix.SOL_IP, 64), // IPT_SO_SET_REPLACE
	option("a routing header", unix.SOL_IPV6, unix.IPV6_RTHDR),
	option("a level of another protocol", 270, 1), // SOL_NETLINK
	syscall("getsockopt of the packet filter", unix.SYS_GETSOCKOPT, boot.FDListen, unix.SOL_IP, 64, tinyelf.DataAddr, tinyelf.DataAddr),
	syscall("getsockopt of the control channel", unix.SYS_GETSOCKOPT, boot.FDControl, unix.SOL_SOCKET, unix.SO_ERROR, tinyelf.DataAddr, tinyelf.DataAddr),
	syscall("tgkill of another process", unix.SYS_TGKILL, 2, 2, uint64(unix.SIGTERM)),
}
