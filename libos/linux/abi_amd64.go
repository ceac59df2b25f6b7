package linux

// This architecture's part of the interface. System call numbers are in
// number_amd64.go.

// Machine is uname(2)'s name for the CPU.
const Machine = "x86_64"

// Open flags (include/uapi/asm-generic/fcntl.h).
const (
	O_DIRECT    = 0x4000
	O_LARGEFILE = 0x8000
	O_DIRECTORY = 0x10000
	O_NOFOLLOW  = 0x20000
	O_TMPFILE   = 0x410000
)

// EpollEvent is struct epoll_event, which is packed on x86-64: 12 bytes.
type EpollEvent struct {
	Events uint32
	Data   [2]uint32 // the caller's
}

// Stat is struct stat of x86-64, 144 bytes (arch/x86/include/uapi/asm/stat.h).
type Stat struct {
	Dev     uint64
	Ino     uint64
	Nlink   uint64
	Mode    uint32
	UID     uint32
	GID     uint32
	_       int32
	Rdev    uint64
	Size    int64
	Blksize int64
	Blocks  int64 // of 512 bytes
	Atim    Timespec
	Mtim    Timespec
	Ctim    Timespec
	_       [3]int64
}
