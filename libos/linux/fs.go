package linux

// Statfs is struct statfs (include/uapi/asm-generic/statfs.h).
type Statfs struct {
	Type    int64
	Bsize   int64
	Blocks  uint64
	Bfree   uint64
	Bavail  uint64
	Files   uint64
	Ffree   uint64
	Fsid    [2]int32
	Namelen int64
	Frsize  int64
	Flags   int64
	_       [4]int64
}

// Magic numbers of file systems (include/uapi/linux/magic.h).
const (
	TMPFS_MAGIC        = 0x01021994
	PROC_SUPER_MAGIC   = 0x9fa0
	SYSFS_MAGIC        = 0x62656572
	DEVPTS_SUPER_MAGIC = 0x1cd1
	ANON_INODE_FS      = 0x09041934
	PIPEFS_MAGIC       = 0x50495045
	SOCKFS_MAGIC       = 0x534f434b
	V9FS_MAGIC         = 0x01021997
)

// Mount flags that statfs(2) reports.
const (
	ST_RDONLY   = 0x1
	ST_NOSUID   = 0x2
	ST_NODEV    = 0x4
	ST_NOEXEC   = 0x8
	ST_VALID    = 0x20
	ST_RELATIME = 0x1000
)

// Flags of the *at calls (include/uapi/linux/fcntl.h).
const (
	AT_FDCWD            = -100
	AT_SYMLINK_NOFOLLOW = 0x100
	AT_REMOVEDIR        = 0x200
	AT_EACCESS          = 0x200
	AT_SYMLINK_FOLLOW   = 0x400
	AT_NO_AUTOMOUNT     = 0x800
	AT_EMPTY_PATH       = 0x1000
	AT_STATX_SYNC_TYPE  = 0x6000
)

// whence of lseek(2).
const (
	SEEK_SET  = 0
	SEEK_CUR  = 1
	SEEK_END  = 2
	SEEK_DATA = 3
	SEEK_HOLE = 4
)

// OpenHow is struct open_how of openat2(2).
type OpenHow struct {
	Flags   uint64
	Mode    uint64
	Resolve uint64
}

// OpenHowSize is the size of OpenHow in bytes.
const OpenHowSize = 24

// StatxTimestamp is struct statx_timestamp.
type StatxTimestamp struct {
	Sec  int64
	Nsec uint32
	_    int32
}

// Statx is struct statx of 256 bytes (include/uapi/linux/stat.h).
type Statx struct {
	Mask           uint32
	Blksize        uint32
	Attributes     uint64
	Nlink          uint32
	UID            uint32
	GID            uint32
	Mode           uint16
	_              uint16
	Ino            uint64
	Size           uint64
	Blocks         uint64
	AttributesMask uint64
	Atime          StatxTimestamp
	Btime          StatxTimestamp
	Ctime          StatxTimestamp
	Mtime          StatxTimestamp
	RdevMajor      uint32
	RdevMinor      uint32
	DevMajor       uint32
	DevMinor       uint32
	_              [14]uint64
}

// Masks of statx(2).
const (
	STATX_BASIC_STATS = 0x7ff
	STATX__RESERVED   = 0x80000000
)

// StatxOf returns st as struct statx, without a time of birth.
func StatxOf(st *Stat) Statx {
	ts := func(t Timespec) StatxTimestamp { return StatxTimestamp{Sec: t.Sec, Nsec: uint32(t.Nsec)} }
	return Statx{
		Mask: STATX_BASIC_STATS, Blksize: uint32(st.Blksize), Nlink: uint32(st.Nlink),
		UID: st.UID, GID: st.GID, Mode: uint16(st.Mode), Ino: st.Ino,
		Size: uint64(st.Size), Blocks: uint64(st.Blocks),
		Atime: ts(st.Atim), Mtime: ts(st.Mtim), Ctime: ts(st.Ctim),
		RdevMajor: Major(st.Rdev), RdevMinor: Minor(st.Rdev),
		DevMajor: Major(st.Dev), DevMinor: Minor(st.Dev),
	}
}

// Major returns the major number of a device.
func Major(dev uint64) uint32 { return uint32(dev>>8)&0xfff | uint32(dev>>32)&^0xfff }

// Minor returns the minor number of a device.
func Minor(dev uint64) uint32 { return uint32(dev)&0xff | uint32(dev>>12)&^0xff }

// Flags of preadv2(2) and pwritev2(2).
const (
	RWF_HIPRI = 0x1
	RWF_DSYNC = 0x2
	RWF_SYNC  = 0x4
)

// Modes of access(2).
const (
	R_OK = 4
	W_OK = 2
	X_OK = 1
)

// Flags of renameat2(2).
const (
	RENAME_NOREPLACE = 1
	RENAME_EXCHANGE  = 2
	RENAME_WHITEOUT  = 4
)

// Modes of fallocate(2).
const (
	FALLOC_FL_KEEP_SIZE  = 0x1
	FALLOC_FL_PUNCH_HOLE = 0x2
	FALLOC_FL_ZERO_RANGE = 0x10
)

// Special values of utimensat(2)'s nanoseconds.
const (
	UTIME_NOW  = 0x3fffffff
	UTIME_OMIT = 0x3ffffffe
)

// Commands of fcntl(2).
const (
	F_DUPFD             = 0
	F_GETFD             = 1
	F_SETFD             = 2
	F_GETFL             = 3
	F_SETFL             = 4
	F_GETLK             = 5
	F_SETLK             = 6
	F_SETLKW            = 7
	F_SETOWN            = 8
	F_GETOWN            = 9
	F_OFD_GETLK         = 36
	F_OFD_SETLK         = 37
	F_OFD_SETLKW        = 38
	F_DUPFD_CLOEXEC     = 1030
	F_ADD_SEALS         = 1033
	F_GET_SEALS         = 1034
	FD_CLOEXEC          = 1
	F_SEAL_SEAL         = 0x1
	F_SEAL_SHRINK       = 0x2
	F_SEAL_GROW         = 0x4
	F_SEAL_WRITE        = 0x8
	F_SEAL_FUTURE_WRITE = 0x10
)

// Flags of close_range(2).
const (
	CLOSE_RANGE_UNSHARE = 0x2
	CLOSE_RANGE_CLOEXEC = 0x4
)

// POSIX_FADV_NOREUSE is the last advice of posix_fadvise(2).
const POSIX_FADV_NOREUSE = 5

// Flags and limits of setxattr(2).
const (
	XATTR_CREATE   = 1
	XATTR_REPLACE  = 2
	XATTR_NAME_MAX = 255
	XATTR_SIZE_MAX = 65536
)

// Types of record locks, and operations of flock(2).
const (
	F_RDLCK = 0
	F_WRLCK = 1
	F_UNLCK = 2
	LOCK_SH = 1
	LOCK_EX = 2
	LOCK_NB = 4
	LOCK_UN = 8
)

// Flock is struct flock.
type Flock struct {
	Type   int16
	Whence int16
	_      int32
	Start  int64
	Len    int64
	PID    int32
	_      int32
}

// Iovec is struct iovec.
type Iovec struct {
	Base uintptr
	Len  uint64
}

// IOV_MAX is the largest number of Iovec in a call.
const IOV_MAX = 1024

// MAX_RW_COUNT is the most bytes that one read or write moves.
const MAX_RW_COUNT = 0x7ffff000

// Requests of ioctl(2) that every descriptor takes, with FIONBIO.
const (
	FIONCLEX = 0x5450
	FIOCLEX  = 0x5451
)

// Types of directory entries are S_IFMT shifted by DT_SHIFT.
const DT_SHIFT = 12

// Events of inotify(7).
const (
	IN_ACCESS        = 0x1
	IN_MODIFY        = 0x2
	IN_ATTRIB        = 0x4
	IN_CLOSE_WRITE   = 0x8
	IN_CLOSE_NOWRITE = 0x10
	IN_OPEN          = 0x20
	IN_MOVED_FROM    = 0x40
	IN_MOVED_TO      = 0x80
	IN_CREATE        = 0x100
	IN_DELETE        = 0x200
	IN_DELETE_SELF   = 0x400
	IN_MOVE_SELF     = 0x800
	IN_UNMOUNT       = 0x2000
	IN_Q_OVERFLOW    = 0x4000
	IN_IGNORED       = 0x8000
	IN_ONLYDIR       = 0x1000000
	IN_DONT_FOLLOW   = 0x2000000
	IN_EXCL_UNLINK   = 0x4000000
	IN_MASK_CREATE   = 0x10000000
	IN_MASK_ADD      = 0x20000000
	IN_ISDIR         = 0x40000000
	IN_ONESHOT       = 0x80000000
)

// Makedev returns the device number of major and minor.
func Makedev(major, minor uint32) uint64 {
	return uint64(major&0xfff)<<8 | uint64(minor&0xff) | uint64(minor&^0xff)<<12 | uint64(major&^0xfff)<<32
}
