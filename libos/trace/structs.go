package trace

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// structure prints what the pointer v points to, by the code of the argument. It prints
// the pointer itself if it is null, or if the call failed and did not fill it in.
func (p *printer) structure(code byte, v uintptr) {
	fills := code >= 'A' && code <= 'Z' && code != 'F'
	if code == 'B' && p.errno != 0 && v != 0 {
		p.num("{msg_namelen=", int64(at[linux.Msghdr](v).Namelen))
		p.text("}")
		return
	}
	if at[byte](v) == nil || fills && p.errno != 0 {
		p.pointer(v)
		return
	}
	switch code {
	case 't', 'T':
		p.timespec(at[linux.Timespec](v))
	case '2':
		p.utimes(at[[2]linux.Timespec](v))
	case 'i', 'J':
		p.itimerspec(at[linux.Itimerspec](v))
	case 'Q':
		p.timeval(at[linux.Timeval](v))
	case 'z':
		p.num("[", *at[int64](v))
		p.text("]")
	case 'e':
		p.epollEvent(at[linux.EpollEvent](v))
	case 'E':
		list(p, v, p.ret, p.epollEvent)
	case 'q':
		list(p, v, p.args[1], p.pollFd)
	case 'F':
		p.fdSet(v)
	case 'a':
		p.sockaddr(v, p.args[p.next+1])
	case 'A':
		p.peer(v)
	case 'k':
		p.option(v, p.args[p.next+1])
	case 'K':
		if n := at[uint32](p.args[p.next+1]); n != nil {
			p.option(v, uintptr(*n))
		}
	case 'v':
		p.iovec(v, p.args[p.next+1], ^uintptr(0))
	case 'V':
		p.iovec(v, p.args[p.next+1], p.ret)
	case 'm':
		p.msghdr(at[linux.Msghdr](v), ^uintptr(0))
	case 'B':
		p.msghdr(at[linux.Msghdr](v), p.ret)
	case 'P':
		list(p, v, 2, func(fd *int32) { p.int(int64(*fd)) })
	case 'S':
		p.stat(at[linux.Stat](v))
	case 'X':
		p.statx(at[linux.Statx](v))
	case 'U':
		p.utsname(v)
	case 'L':
		p.rlimit(at[[2]uint64](v))
	case 'Y':
		p.pointer(v)
		p.dirents(v)
	case 'I':
		p.ioctlArg(v)
	default:
		panic("trace: no such code: " + string(rune(code)))
	}
}

// list prints the n elements of an array.
func list[T any](p *printer, addr, n uintptr, print func(*T)) {
	p.text("[")
	for i := range n {
		if i > 0 {
			p.text(", ")
		}
		print(at[T](addr + i*unsafe.Sizeof(*new(T))))
	}
	p.text("]")
}

func (p *printer) timespec(t *linux.Timespec) {
	p.num("{tv_sec=", t.Sec)
	p.num(", tv_nsec=", t.Nsec)
	p.text("}")
}

func (p *printer) timeval(t *linux.Timeval) {
	p.num("{tv_sec=", t.Sec)
	p.num(", tv_usec=", t.Usec)
	p.text("}")
}

func (p *printer) itimerspec(t *linux.Itimerspec) {
	p.text("{it_interval=")
	p.timespec(&t.Interval)
	p.text(", it_value=")
	p.timespec(&t.Value)
	p.text("}")
}

// utimes prints the two times of utimensat(2).
func (p *printer) utimes(t *[2]linux.Timespec) {
	p.text("[")
	for i := range t {
		if i > 0 {
			p.text(", ")
		}
		switch t[i].Nsec {
		case linux.UTIME_NOW:
			p.text("UTIME_NOW")
		case linux.UTIME_OMIT:
			p.text("UTIME_OMIT")
		default:
			p.timespec(&t[i])
		}
	}
	p.text("]")
}

func (p *printer) epollEvent(e *linux.EpollEvent) {
	p.text("{events=")
	p.names("EPOLL", uint64(e.Events))
	p.text(", data={u32=")
	p.uint(uint64(e.Data[0]))
	p.text(", u64=")
	p.uint(uint64(e.Data[1])<<32 | uint64(e.Data[0]))
	p.text("}}")
}

func (p *printer) pollFd(f *linux.PollFd) {
	p.num("{fd=", int64(f.Fd))
	p.text(", events=")
	p.names("POLL", uint64(uint16(f.Events)))
	p.text("}")
}

// pollResult prints the ready descriptors of poll(2), after their number.
func (p *printer) pollResult() {
	if p.ret == 0 {
		p.text(" (Timeout)")
		return
	}
	p.text(" ([")
	separator := ""
	for i := range p.args[1] {
		f := at[linux.PollFd](p.args[0] + i*unsafe.Sizeof(linux.PollFd{}))
		if f.Revents == 0 {
			continue
		}
		p.text(separator)
		p.num("{fd=", int64(f.Fd))
		p.text(", revents=")
		p.names("POLL", uint64(uint16(f.Revents)))
		p.text("}")
		separator = ", "
	}
	p.text("])")
}

// fdSet prints a set of select(2).
func (p *printer) fdSet(v uintptr) {
	p.text("[")
	separator := ""
	for fd := range p.args[0] {
		if *at[byte](v + fd/8)>>(fd%8)&1 != 0 {
			p.num(separator, int64(fd))
			separator = " "
		}
	}
	p.text("]")
}

// iovec prints n buffers that hold filled bytes together.
func (p *printer) iovec(v, n, filled uintptr) {
	list(p, v, min(n, linux.IOV_MAX), func(iov *linux.Iovec) {
		p.text("{iov_base=")
		used := min(uintptr(iov.Len), filled)
		p.bytes(iov.Base, used, stringMax)
		filled -= used
		p.text(", iov_len=")
		p.uint(iov.Len)
		p.text("}")
	})
}

// stat prints the fields of struct stat that strace prints.
func (p *printer) stat(st *linux.Stat) {
	p.text("{st_mode=")
	p.mode(st.Mode)
	switch st.Mode & linux.S_IFMT {
	case linux.S_IFCHR, linux.S_IFBLK:
		p.text(", st_rdev=makedev(")
		p.hex(uint64(linux.Major(st.Rdev)))
		p.text(", ")
		p.hex(uint64(linux.Minor(st.Rdev)))
		p.text(")")
	default:
		p.num(", st_size=", st.Size)
	}
	p.text(", ...}")
}

// statx prints the fields of struct statx that strace prints.
func (p *printer) statx(st *linux.Statx) {
	p.text("{stx_mask=")
	p.names("STATX_", uint64(st.Mask))
	p.text(", stx_attributes=")
	p.hex(st.Attributes)
	p.text(", stx_mode=")
	p.mode(uint32(st.Mode))
	p.num(", stx_size=", int64(st.Size))
	p.text(", ...}")
}

// utsname prints the first two strings of struct utsname (uname(2)).
func (p *printer) utsname(v uintptr) {
	const field = 65
	p.text("{sysname=")
	p.path(v)
	p.text(", nodename=")
	p.path(v + field)
	p.text(", ...}")
}

// rlimit prints struct rlimit. Multiples of 1024 appear as products.
func (p *printer) rlimit(limits *[2]uint64) {
	for i, v := range limits {
		p.text([2]string{"{rlim_cur=", ", rlim_max="}[i])
		switch {
		case v == ^uint64(0):
			p.text("RLIM64_INFINITY")
		case v > 1024 && v%1024 == 0:
			p.uint(v / 1024)
			p.text("*1024")
		default:
			p.uint(v)
		}
	}
	p.text("}")
}

// dirents counts the entries of getdents64(2). The length of an entry is at offset 16.
func (p *printer) dirents(v uintptr) {
	n := 0
	for off := uintptr(0); off < p.ret; n++ {
		off += uintptr(*at[uint16](v + off + 16))
	}
	p.num(" /* ", int64(n))
	p.text(" entries */")
}

// ioctlArg prints the third argument of ioctl(2) if it is simple.
func (p *printer) ioctlArg(v uintptr) {
	switch p.args[1] {
	case linux.FIONREAD, linux.FIONBIO, linux.TIOCOUTQ:
		p.num("[", int64(*at[int32](v)))
		p.text("]")
	default:
		p.pointer(v)
	}
}

// fcntlArg prints the third argument of fcntl(2). Most commands have none.
func (p *printer) fcntlArg(v uintptr) bool {
	set := ""
	switch p.args[1] {
	case linux.F_DUPFD, linux.F_DUPFD_CLOEXEC, linux.F_SETOWN, linux.F_SETPIPE_SZ:
		p.int(int64(int32(v)))
		return true
	case linux.F_GETLK, linux.F_SETLK, linux.F_SETLKW, linux.F_OFD_GETLK, linux.F_OFD_SETLK, linux.F_OFD_SETLKW:
		p.flock(v)
		return true
	case linux.F_SETFD:
		set = "FD_"
	case linux.F_SETFL:
		set = "O_"
	case linux.F_ADD_SEALS:
		set = "F_SEAL_"
	default:
		return false
	}
	p.names(set, uint64(v))
	return true
}

func (p *printer) flock(v uintptr) {
	l := at[linux.Flock](v)
	if l == nil {
		p.pointer(v)
		return
	}
	p.text("{l_type=")
	p.names("F_LCK", uint64(l.Type))
	p.text(", l_whence=")
	p.names("SEEK_", uint64(l.Whence))
	p.num(", l_start=", l.Start)
	p.num(", l_len=", l.Len)
	if cmd := p.args[1]; cmd == linux.F_GETLK || cmd == linux.F_OFD_GETLK {
		p.num(", l_pid=", int64(l.PID))
	}
	p.text("}")
}

// fcntlResult prints the result of fcntl(2), flags by name.
func (p *printer) fcntlResult() {
	set := ""
	switch p.args[1] {
	case linux.F_GETFL:
		set = "O_"
	case linux.F_GETFD:
		set = "FD_"
	case linux.F_GET_SEALS:
		set = "F_SEAL_"
	}
	if set == "" || p.ret == 0 && set != "O_" {
		p.int(int64(p.ret))
		return
	}
	p.hex(uint64(p.ret))
	p.text(" (flags ")
	p.names(set, uint64(p.ret))
	p.text(")")
}
