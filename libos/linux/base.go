package linux

// Open flags and file status flags (include/uapi/asm-generic/fcntl.h). Those that
// differ between architectures are in abi_amd64.go.
const (
	O_RDONLY   = 0x0
	O_WRONLY   = 0x1
	O_RDWR     = 0x2
	O_ACCMODE  = 0x3
	O_CREAT    = 0x40
	O_EXCL     = 0x80
	O_NOCTTY   = 0x100
	O_TRUNC    = 0x200
	O_APPEND   = 0x400
	O_NONBLOCK = 0x800
	O_DSYNC    = 0x1000
	O_NOATIME  = 0x40000
	O_CLOEXEC  = 0x80000
	O_SYNC     = 0x101000
	O_PATH     = 0x200000
)

// File types and mode bits (include/uapi/linux/stat.h).
const (
	S_IFMT   = 0xf000
	S_IFSOCK = 0xc000
	S_IFLNK  = 0xa000
	S_IFREG  = 0x8000
	S_IFBLK  = 0x6000
	S_IFDIR  = 0x4000
	S_IFCHR  = 0x2000
	S_IFIFO  = 0x1000
	S_ISUID  = 0x800
	S_ISGID  = 0x400
	S_ISVTX  = 0x200
)

// Timespec is struct timespec: seconds and nanoseconds.
type Timespec struct {
	Sec  int64
	Nsec int64
}

// Nano returns the time in nanoseconds.
func (t Timespec) Nano() int64 { return t.Sec*1e9 + t.Nsec }

// Valid reports whether the nanoseconds are in range and the time is not negative.
func (t Timespec) Valid() bool { return t.Sec >= 0 && t.Nsec >= 0 && t.Nsec < 1e9 }

// Timeval is struct timeval: seconds and microseconds.
type Timeval struct {
	Sec  int64
	Usec int64
}
