package files_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strings"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"
	"github.com/pith-os/pith/libos/sys/call"

	"golang.org/x/sys/unix"
)

// The differential test of the file system runs a program of random operations on
// Linux's tmpfs and on the library OS, each in a new directory. It compares every
// result.

func TestRandomFileOperationsAsOnLinux(t *testing.T) {
	rounds := uint64(300)
	if testing.Short() {
		rounds = 30
	}
	for seed := range rounds {
		if !compareFiles(t, randomProgram(seed), "/tmp") {
			t.Fatalf("seed %d", seed)
		}
	}
}

func randomProgram(seed uint64) []byte {
	program := make([]byte, 4000)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range program {
		program[i] = byte(r.Uint32())
	}
	return program
}

func FuzzFileOperationsAsOnLinux(f *testing.F) {
	f.Add([]byte("some bytes to begin with, which are operations and their arguments"))
	f.Fuzz(func(t *testing.T, program []byte) { compareFiles(t, program, "/tmp") })
}

// compareFiles runs a program on both; the library OS's directory is below where. It
// reports whether all results are equal.
func compareFiles(t *testing.T, program []byte, where string) bool {
	t.Helper()
	return compareOperations(t, program, where, operations)
}

func compareOperations(t *testing.T, program []byte, where string, operations []operation) bool {
	t.Helper()
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err != nil || st.Type != unix.TMPFS_MAGIC || os.Getuid() != 0 {
		t.Skip("needs a tmpfs on /dev/shm and uid 0")
	}
	dir, err := os.MkdirTemp(shm, "pith")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer unix.Umask(unix.Umask(0o022))
	host := newWorld(t, func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno) {
		r, _, errno := unix.Syscall6(num, a1, a2, a3, a4, a5, a6)
		if errno != 0 {
			return 0, linux.Errno(errno)
		}
		return r, 0
	}, dir)
	ours := newWorld(t, sys.Call, where)
	host.ninep, ours.ninep = where != "/tmp", where != "/tmp"
	host.byName, ours.byName = where == qemuPath, where == qemuPath
	for n := 0; len(program) > 0; n++ {
		a, b := program, program
		want, got := host.step(&a, operations), ours.step(&b, operations)
		program = a
		host.log = append(host.log, fmt.Sprintf("%3d %s", n, want))
		if want != got {
			log := host.log[max(0, len(host.log)-40):]
			t.Errorf("%s\nlinux: %s\npith:  %s", strings.Join(log, "\n"), want, got)
			break
		}
	}
	host.end()
	ours.end()
	return !t.Failed()
}

// world is one of the two kernels with a directory to work in.
type world struct {
	t    *testing.T
	call func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno)
	top  string
	root uintptr
	fds  []uintptr
	// ninep leaves out what 9P cannot report or do. byName leaves out what a server
	// cannot do that knows files only by their names.
	ninep, byName bool
	inos          map[uint64]int
	log           []string
	// Inodes that fallocate allocated pages for.
	allocated map[uint64]bool
	used      string // the descriptors of the operation, for the log
	// Memory that calls point to. The heap does not move.
	path, path2 *[call.PathMax]byte
	data        *[1 << 16]byte
	st          *linux.Stat
	nums        *[8]int64
}

func newWorld(t *testing.T, do func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno), dir string) *world {
	w := &world{
		t: t, call: do, inos: map[uint64]int{}, allocated: map[uint64]bool{}, path: new([call.PathMax]byte), path2: new([call.PathMax]byte),
		data: new([1 << 16]byte), st: new(linux.Stat), nums: new([8]int64),
	}
	name := dir
	if !strings.HasPrefix(dir, "/dev/shm/") {
		name = fmt.Sprintf("%s/%s-%d", dir, strings.ReplaceAll(t.Name(), "/", "-"), rand.Uint64())
		w.must(linux.SYS_MKDIRAT, atCwd, w.str(w.path, name), 0o700)
	}
	w.top = name
	// Links may lead upwards, out of the root, but not through all of these.
	for range 5 {
		name += "/r"
		w.must(linux.SYS_MKDIRAT, atCwd, w.str(w.path, name), 0o700)
	}
	w.root = w.must(linux.SYS_OPENAT, atCwd, w.str(w.path, name), linux.O_RDONLY|linux.O_DIRECTORY)
	return w
}

func (w *world) do(num int, args ...uintptr) (uintptr, linux.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	return w.call(uintptr(num), a[0], a[1], a[2], a[3], a[4], a[5])
}

func (w *world) must(num int, args ...uintptr) uintptr {
	w.t.Helper()
	r, errno := w.do(num, args...)
	if errno != 0 {
		w.t.Fatalf("call %d: %v", num, unix.Errno(errno))
	}
	return r
}

func (w *world) end() {
	w.become(0)
	for _, fd := range w.fds {
		w.do(linux.SYS_CLOSE, fd)
	}
	w.do(linux.SYS_CLOSE, w.root)
	w.remove(w.top)
}

// remove removes path and everything below it.
func (w *world) remove(path string) {
	if _, errno := w.do(linux.SYS_UNLINKAT, atCwd, w.str(w.path, path), 0); errno == 0 {
		return
	}
	fd := w.must(linux.SYS_OPENAT, atCwd, w.str(w.path, path), linux.O_RDONLY|linux.O_DIRECTORY)
	for _, e := range w.entries(fd) {
		if e.name != "." && e.name != ".." {
			w.remove(path + "/" + e.name)
		}
	}
	w.do(linux.SYS_CLOSE, fd)
	w.must(linux.SYS_UNLINKAT, atCwd, w.str(w.path, path), linux.AT_REMOVEDIR)
}

func (w *world) str(to *[call.PathMax]byte, s string) uintptr {
	copy(to[:], s)
	to[len(s)] = 0
	return at(to)
}

// at returns the address of what p points to. It keeps that off the stack, and alive
// for the next calls.
func at[T any](p *T) uintptr {
	copy(recent[1:], recent[:])
	recent[0] = p
	return uintptr(unsafe.Pointer(p))
}

var recent [16]any

// fileInput are the bytes of a program.
type input struct{ p *[]byte }

func (in input) next() byte {
	if len(*in.p) == 0 {
		return 0
	}
	b := (*in.p)[0]
	*in.p = (*in.p)[1:]
	return b
}

func (in input) pick(n int) int { return int(in.next()) % n }

// name returns a short path. There are few names, so operations meet.
func (in input) name() string {
	parts := []string{"a", "b", "c", "d", "a/b", "a/c", "b/a", "b/c", "a/b/c", ".", "..", "a/..", "a/.", "b//c", "", "longlink/x"}
	s := parts[in.pick(len(parts))]
	if b := in.next(); b < 16 && s != "" {
		s += "/"
	}
	return s
}

func (in input) off() int64 {
	offs := []int64{0, 1, 100, 4095, 4096, 5000, 8192, 65535, 65536, 70000, 200000, 1 << 20, 3<<20 + 17, 40 << 20, -1, 12288}
	return offs[in.pick(len(offs))]
}

var lengths = []int{0, 1, 10, 100, 4096, 5000, 65536, 20000}

func (w *world) fd(in input) uintptr {
	i := in.pick(len(w.fds) + 2)
	w.used += fmt.Sprintf("[%d]", i)
	switch i {
	case len(w.fds):
		return w.root
	case len(w.fds) + 1:
		return 9999
	default:
		if w.byName && w.inode(w.fds[i]).Nlink == 0 {
			return 9999
		}
		return w.fds[i]
	}
}

func (w *world) step(p *[]byte, operations []operation) string {
	in := input{p}
	op := in.pick(len(operations))
	o := operations[op]
	w.used = ""
	if w.ninep && notByNineP[o.name] || w.byName && strings.HasPrefix(o.name, "link") {
		return o.name
	}
	done := o.run(w, in)
	return o.name + w.used + " " + done
}

func result(r uintptr, errno linux.Errno) string {
	if errno != 0 {
		return errno.Name()
	}
	return fmt.Sprint(r)
}

// plain makes a call that returns a number, and formats the result.
func (w *world) plain(label string, num int, args ...uintptr) string {
	return label + " = " + result(w.do(num, args...))
}

func (w *world) ino(n uint64) int {
	if _, ok := w.inos[n]; !ok {
		w.inos[n] = len(w.inos)
	}
	return w.inos[n]
}

// stat formats a struct stat. Of times that the program did not set, it only compares
// whether they are recent.
func (w *world) stat(r uintptr, errno linux.Errno) string {
	if errno != 0 {
		return errno.Name()
	}
	s := w.st
	when := func(t linux.Timespec) string {
		if t.Sec > 1e9 {
			return "now"
		}
		return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
	}
	if w.ninep {
		s.Atim = linux.Timespec{} // O_NOATIME does not reach the server
		s.Blksize = 0             // which says what is good for it
	}
	return fmt.Sprintf("ino#%d nlink %d mode %o uid %d gid %d size %d blocks %d blksize %d rdev %x atime %s mtime %s ctime %s",
		w.ino(s.Ino), s.Nlink, s.Mode, s.UID, s.GID, s.Size, s.Blocks, s.Blksize, s.Rdev, when(s.Atim), when(s.Mtim), when(s.Ctim))
}

type entry struct {
	name string
	typ  byte
	ino  uint64
}

// entries lists a directory by name; nil if that fails.
func (w *world) entries(fd uintptr) (all []entry) {
	for {
		n, errno := w.do(linux.SYS_GETDENTS64, fd, at(w.data), 512)
		if errno != 0 {
			return nil
		}
		if n == 0 {
			break
		}
		for b := w.data[:n]; len(b) > 0; {
			size := *(*uint16)(unsafe.Pointer(&b[16]))
			name := b[19:size]
			name = name[:bytes.IndexByte(name, 0)]
			all = append(all, entry{string(name), b[18], *(*uint64)(unsafe.Pointer(&b[0]))})
			b = b[size:]
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all
}

// list formats the entries of a directory.
func (w *world) list(fd uintptr) string {
	if _, errno := w.do(linux.SYS_GETDENTS64, fd, at(w.data), 0); errno != linux.EINVAL && errno != 0 {
		return errno.Name()
	}
	var out strings.Builder
	for _, e := range w.entries(fd) {
		fmt.Fprintf(&out, " %s(%d)#%d", e.name, e.typ, w.ino(e.ino))
	}
	return out.String()
}

type operation struct {
	name string
	run  func(w *world, in input) string
}

var openFlagSets = []uint32{
	0, linux.O_RDWR, linux.O_WRONLY, linux.O_RDWR | linux.O_CREAT, linux.O_WRONLY | linux.O_CREAT | linux.O_TRUNC,
	linux.O_RDWR | linux.O_CREAT | linux.O_EXCL, linux.O_RDWR | linux.O_CREAT | linux.O_APPEND, linux.O_DIRECTORY,
	linux.O_RDWR | linux.O_TRUNC, linux.O_PATH, linux.O_PATH | linux.O_NOFOLLOW, linux.O_NOFOLLOW, linux.O_RDWR | linux.O_NOFOLLOW,
	linux.O_RDWR | linux.O_TMPFILE, linux.O_RDWR | linux.O_TMPFILE | linux.O_EXCL, linux.O_TMPFILE, linux.O_CREAT | linux.O_DIRECTORY, linux.O_DIRECTORY | linux.O_RDWR,
	linux.O_CREAT | linux.O_NOFOLLOW | linux.O_RDWR, linux.O_NOATIME | linux.O_RDWR | linux.O_CREAT, linux.O_CREAT | linux.O_RDONLY | linux.O_TRUNC,
	linux.O_PATH | linux.O_DIRECTORY, linux.O_RDONLY | linux.O_TRUNC, linux.O_CLOEXEC, linux.O_RDWR | linux.O_SYNC | linux.O_CLOEXEC,
}

var operations = []operation{
	{"open", opOpen}, {"open", opOpen}, {"open", opOpen},
	{"openat2", func(w *world, in input) string {
		how := &linux.OpenHow{Flags: uint64(openFlagSets[in.pick(len(openFlagSets))]), Resolve: uint64(in.pick(32))}
		if how.Flags&(linux.O_CREAT|linux.O_TMPFILE&^linux.O_DIRECTORY) != 0 {
			how.Mode = 0o640
		}
		if w.ninep && how.Flags&linux.O_TMPFILE == linux.O_TMPFILE {
			return "temporary"
		}
		name := in.name()
		if in.pick(8) == 0 {
			name = "/" + name
			how.Resolve &^= uint64(0x1f)
			how.Resolve |= 0x10
		}
		r, errno := w.do(linux.SYS_OPENAT2, w.root, w.str(w.path, name), at(how), linux.OpenHowSize)
		return fmt.Sprintf("%q %+v = %s", name, *how, w.installed(r, errno))
	}},
	{"close", func(w *world, in input) string {
		if len(w.fds) == 0 {
			return "none"
		}
		i := in.pick(len(w.fds))
		s := w.plain(fmt.Sprint(i), linux.SYS_CLOSE, w.fds[i])
		w.fds = append(w.fds[:i], w.fds[i+1:]...)
		return s
	}},
	{"write", opWrite}, {"write", opWrite},
	{"pwrite", func(w *world, in input) string {
		i := in.next()
		n, off := lengths[in.pick(len(lengths))], in.off()
		fillPattern(w.data[:n], in.next())
		return w.plain(fmt.Sprint(i, n, off), linux.SYS_PWRITE64, w.fd(input{&[]byte{i}}), at(w.data), uintptr(n), uintptr(off))
	}},
	{"read", func(w *world, in input) string {
		i := in.next()
		n := lengths[in.pick(len(lengths))]
		return w.data_(linux.SYS_READ, i, n, 0)
	}},
	{"pread", func(w *world, in input) string {
		i := in.next()
		n := lengths[in.pick(len(lengths))]
		return w.data_(linux.SYS_PREAD64, i, n, in.off())
	}},
	{"lseek", func(w *world, in input) string {
		fd, off, whence := w.fd(in), in.off(), in.pick(6)
		if w.inode(fd).Mode&linux.S_IFMT == linux.S_IFDIR {
			return "directory"
		}
		if whence >= linux.SEEK_DATA && (w.ninep || w.allocated[w.st.Ino]) {
			return "unspecified" // whether pages without data are holes
		}
		return w.plain(fmt.Sprint(off, whence), linux.SYS_LSEEK, fd, uintptr(off), uintptr(whence))
	}},
	{"ftruncate", func(w *world, in input) string {
		fd, off := w.fd(in), in.off()
		return w.plain(fmt.Sprint(off), linux.SYS_FTRUNCATE, fd, uintptr(off))
	}},
	{"fallocate", func(w *world, in input) string {
		fd, off, n := w.fd(in), in.off(), in.off()
		mode := []uint32{0, 1, 3, 3, 2}[in.pick(5)]
		if mode&linux.FALLOC_FL_PUNCH_HOLE == 0 {
			w.allocated[w.inode(fd).Ino] = true
		}
		return w.plain(fmt.Sprint(mode, off, n), linux.SYS_FALLOCATE, fd, uintptr(mode), uintptr(off), uintptr(n))
	}},
	{"fstat", func(w *world, in input) string {
		return w.stat(w.do(linux.SYS_FSTAT, w.fd(in), at(w.st)))
	}},
	{"stat", opStat}, {"stat", opStat},
	{"statx", func(w *world, in input) string {
		name, flags := in.name(), []uintptr{0, linux.AT_SYMLINK_NOFOLLOW, 0x6000, 0x80000}[in.pick(4)]
		x := new(linux.Statx)
		_, errno := w.do(linux.SYS_STATX, w.root, w.str(w.path, name), flags, linux.STATX_BASIC_STATS, at(x))
		return fmt.Sprintf("%q %d %d %o %d %d", name, errno, x.Nlink, x.Mode, x.Size, x.Blocks)
	}},
	{"mkdir", opMkdir}, {"mkdir", opMkdir},
	{"rmdir", func(w *world, in input) string {
		name := in.name()
		return w.plain(name, linux.SYS_UNLINKAT, w.root, w.str(w.path, name), linux.AT_REMOVEDIR)
	}},
	{"unlink", func(w *world, in input) string {
		name := in.name()
		return w.plain(name, linux.SYS_UNLINKAT, w.root, w.str(w.path, name), 0)
	}},
	{"rename", opRename}, {"rename", opRename},
	{"link", func(w *world, in input) string {
		from, to, flags := in.name(), in.name(), []uintptr{0, linux.AT_SYMLINK_FOLLOW, 1}[in.pick(3)]
		return w.plain(from+" "+to, linux.SYS_LINKAT, w.root, w.str(w.path, from), w.root, w.str(w.path2, to), flags)
	}},
	{"link open", func(w *world, in input) string {
		fd, to := w.fd(in), in.name()
		return w.plain(to, linux.SYS_LINKAT, fd, w.str(w.path, ""), w.root, w.str(w.path2, to), linux.AT_EMPTY_PATH)
	}},
	{"symlink", func(w *world, in input) string {
		to, name := in.name(), in.name()
		return w.plain(to+" "+name, linux.SYS_SYMLINKAT, w.str(w.path, to), w.root, w.str(w.path2, name))
	}},
	{"readlink", func(w *world, in input) string {
		name := in.name()
		n, errno := w.do(linux.SYS_READLINKAT, w.root, w.str(w.path, name), at(w.data), 100)
		if errno != 0 {
			return name + " " + errno.Name()
		}
		return fmt.Sprintf("%s %q", name, w.data[:n])
	}},
	{"chmod", func(w *world, in input) string {
		name, mode := in.name(), []uintptr{0o644, 0o4755, 0o2755, 0o2744, 0o1755, 0, 0o600}[in.pick(7)]
		return w.plain(name, linux.SYS_FCHMODAT, w.root, w.str(w.path, name), mode)
	}},
	{"fchmodat2", func(w *world, in input) string {
		name := in.name()
		return w.plain(name, linux.SYS_FCHMODAT2, w.root, w.str(w.path, name), 0o611, linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"fchmod", func(w *world, in input) string {
		return w.plain("", linux.SYS_FCHMOD, w.fd(in), 0o4711)
	}},
	{"chown", func(w *world, in input) string {
		name, ids := in.name(), []uintptr{0, 7, 1000, ^uintptr(0)}
		uid, gid := ids[in.pick(4)], ids[in.pick(4)]
		return w.plain(fmt.Sprint(name, int32(uid), int32(gid)), linux.SYS_FCHOWNAT, w.root, w.str(w.path, name), uid, gid, uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"fchown", func(w *world, in input) string { return w.plain("", linux.SYS_FCHOWN, w.fd(in), 5, 6) }},
	{"utimensat", func(w *world, in input) string {
		name := in.name()
		for i := range 2 {
			w.nums[2*i] = int64(in.next())
			w.nums[2*i+1] = []int64{0, 123456789, 999999999, 1000000000, linux.UTIME_NOW, linux.UTIME_OMIT}[in.pick(6)]
		}
		return w.plain(fmt.Sprint(name, w.nums[:4]), linux.SYS_UTIMENSAT, w.root, w.str(w.path, name), at(w.nums), uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"futimens", func(w *world, in input) string {
		*w.nums = [8]int64{int64(in.next()), 1, 3, 4}
		return w.plain("", linux.SYS_UTIMENSAT, w.fd(in), 0, at(w.nums), 0)
	}},
	{"list", func(w *world, in input) string {
		name := in.name()
		fd, errno := w.do(linux.SYS_OPENAT, w.root, w.str(w.path, name), linux.O_RDONLY|linux.O_DIRECTORY)
		if errno != 0 {
			return name + " " + errno.Name()
		}
		defer w.do(linux.SYS_CLOSE, fd)
		return name + ": " + w.list(fd)
	}},
	{"list open", func(w *world, in input) string {
		fd := w.fd(in)
		w.do(linux.SYS_LSEEK, fd, 0, 0)
		return w.list(fd)
	}},
	{"access", func(w *world, in input) string {
		name, mode := in.name(), uintptr(in.pick(9))
		return w.plain(fmt.Sprint(name, mode), linux.SYS_FACCESSAT2, w.root, w.str(w.path, name), mode, uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"mknod", func(w *world, in input) string {
		name, mode := in.name(), []uintptr{0o600, linux.S_IFSOCK | 0o666, linux.S_IFREG | 0o4755, linux.S_IFDIR | 0o700, 0x3000}[in.pick(5)]
		if w.byName && mode&linux.S_IFMT == linux.S_IFSOCK {
			return "socket" // which QEMU cannot make
		}
		return w.plain(fmt.Sprintf("%s %o", name, mode), linux.SYS_MKNODAT, w.root, w.str(w.path, name), mode, 0x1234)
	}},
	{"dup", func(w *world, in input) string {
		return w.installed(w.do(linux.SYS_DUP, w.fd(in)))
	}},
	{"getfl", func(w *world, in input) string { return w.plain("", linux.SYS_FCNTL, w.fd(in), linux.F_GETFL) }},
	{"setfl", func(w *world, in input) string {
		fd, flags := w.fd(in), []uintptr{0, linux.O_APPEND, linux.O_NONBLOCK, linux.O_NOATIME}[in.pick(4)]
		if fd == w.root {
			return "root"
		}
		if w.ninep { // once a file appends, it does at the server
			old, _ := w.do(linux.SYS_FCNTL, fd, linux.F_GETFL)
			flags |= old & linux.O_APPEND
		}
		return w.plain(fmt.Sprint(flags), linux.SYS_FCNTL, fd, linux.F_SETFL, flags)
	}},
	{"copy_file_range", func(w *world, in input) string {
		a, b, n := w.fd(in), w.fd(in), lengths[in.pick(len(lengths))]
		w.nums[0], w.nums[1] = in.off(), in.off()
		pa, pb := at(&w.nums[0]), at(&w.nums[1])
		if in.pick(2) == 0 {
			pa = 0
		}
		if in.pick(2) == 0 {
			pb = 0
		}
		s := w.plain(fmt.Sprint(n, w.nums[:2]), linux.SYS_COPY_FILE_RANGE, a, pa, b, pb, uintptr(n), 0)
		return s + fmt.Sprint(w.nums[:2])
	}},
	{"sendfile", func(w *world, in input) string {
		// Linux sets the access time even when there was nothing to read.
		a, b, n := w.fd(in), w.fd(in), lengths[1+in.pick(len(lengths)-1)]
		w.nums[0] = in.off()
		p := at(&w.nums[0])
		if in.pick(2) == 0 {
			p = 0
		}
		if in, out := w.inode(a), w.inode(b); in.Ino == out.Ino || out.Mode&linux.S_IFMT == linux.S_IFDIR {
			return "to itself or from a directory"
		}
		return w.plain(fmt.Sprint(n, w.nums[0]), linux.SYS_SENDFILE, a, b, p, uintptr(n)) + fmt.Sprint(w.nums[:1])
	}},
	{"flock", func(w *world, in input) string {
		fd, op := w.fd(in), []uintptr{1, 2, 8, 2, 16}[in.pick(5)]
		return w.plain(fmt.Sprint(op), linux.SYS_FLOCK, fd, op|linux.LOCK_NB)
	}},
	{"lock", func(w *world, in input) string {
		fd := w.fd(in)
		cmd := []int{linux.F_SETLK, linux.F_OFD_SETLK, linux.F_OFD_SETLK, linux.F_GETLK, linux.F_OFD_GETLK}[in.pick(5)]
		l := &linux.Flock{Type: int16(in.pick(4)), Whence: int16(in.pick(4)), Start: int64(in.pick(20)) - 2, Len: int64(in.pick(20)) - 4}
		if (cmd == linux.F_GETLK || cmd == linux.F_OFD_GETLK) && l.Type == linux.F_UNLCK {
			l.Type = linux.F_WRLCK
		}
		if w.inode(fd).Mode&linux.S_IFMT == linux.S_IFDIR {
			return "directory" // whose offset is the kernel's own affair
		}
		s := w.plain(fmt.Sprint(cmd, *l), linux.SYS_FCNTL, fd, uintptr(cmd), at(l))
		if l.PID > 0 {
			l.PID = 1
		}
		return s + fmt.Sprint(" ", *l)
	}},
	{"readv", func(w *world, in input) string {
		v := &[3]linux.Iovec{{Base: at(&w.data[0]), Len: 10}, {Base: 0, Len: 0}, {Base: at(&w.data[100]), Len: uint64(in.next())}}
		n, errno := w.do(linux.SYS_READV, w.fd(in), at(v), 3)
		return fmt.Sprintf("%s %x", result(n, errno), w.data[:min(n, 10)])
	}},
	{"writev", func(w *world, in input) string {
		fillPattern(w.data[:400], in.next())
		v := &[3]linux.Iovec{{Base: at(&w.data[0]), Len: 10}, {Base: 0, Len: 0}, {Base: at(&w.data[100]), Len: uint64(in.next())}}
		return w.plain("", linux.SYS_WRITEV, w.fd(in), at(v), 3)
	}},
	{"pwritev", func(w *world, in input) string {
		fillPattern(w.data[:400], in.next())
		v := &[2]linux.Iovec{{Base: at(&w.data[0]), Len: 10}, {Base: at(&w.data[100]), Len: uint64(in.next())}}
		off := in.off()
		return w.plain(fmt.Sprint(off), linux.SYS_PWRITEV, w.fd(in), at(v), 2, uintptr(off))
	}},
	{"fsetxattr", func(w *world, in input) string {
		key := []string{"user.x", "user.y", "trusted.z", "user.", "bogus", ""}[in.pick(6)]
		fillPattern(w.data[:40], in.next())
		return w.plain(key, linux.SYS_FSETXATTR, w.fd(in), w.str(w.path2, key), at(w.data), uintptr(in.pick(30)), uintptr(in.pick(4)))
	}},
	{"fgetxattr", func(w *world, in input) string {
		key := []string{"user.x", "user.y", "trusted.z", "user.", "bogus", ""}[in.pick(6)]
		n, errno := w.do(linux.SYS_FGETXATTR, w.fd(in), w.str(w.path2, key), at(w.data), uintptr(in.pick(30)))
		return key + " " + result(n, errno)
	}},
	{"fremovexattr", func(w *world, in input) string {
		key := []string{"user.x", "user.y", "trusted.z"}[in.pick(3)]
		return w.plain(key, linux.SYS_FREMOVEXATTR, w.fd(in), w.str(w.path2, key))
	}},
	{"fsync", func(w *world, in input) string { return w.plain("", linux.SYS_FSYNC, w.fd(in)) }},
	{"fadvise", func(w *world, in input) string {
		return w.plain("", linux.SYS_FADVISE64, w.fd(in), uintptr(in.off()), uintptr(in.off()), uintptr(in.pick(8)))
	}},
	{"at fd", func(w *world, in input) string {
		fd, name := w.fd(in), in.name()
		_, errno := w.do(linux.SYS_NEWFSTATAT, fd, w.str(w.path, name), at(w.st), linux.AT_EMPTY_PATH)
		return name + " " + w.stat(0, errno)
	}},
}

func opOpen(w *world, in input) string {
	name, flags := in.name(), openFlagSets[in.pick(len(openFlagSets))]
	if w.ninep && flags&linux.O_TMPFILE == linux.O_TMPFILE {
		return "temporary"
	}
	r, errno := w.do(linux.SYS_OPENAT, w.root, w.str(w.path, name), uintptr(flags), 0o666)
	return fmt.Sprintf("%q %#x = %s", name, flags, w.installed(r, errno))
}

// installed adds a new descriptor to the list. The log has its place there, as numbers
// differ.
func (w *world) installed(fd uintptr, errno linux.Errno) string {
	if errno != 0 {
		return errno.Name()
	}
	if len(w.fds) >= 8 {
		w.do(linux.SYS_CLOSE, fd)
		return "full"
	}
	w.fds = append(w.fds, fd)
	return fmt.Sprint("fd", len(w.fds)-1)
}

func fillPattern(p []byte, seed byte) {
	for i := range p {
		p[i] = seed + byte(i) + byte(i>>8)
	}
}

func opWrite(w *world, in input) string {
	fd, n := w.fd(in), lengths[in.pick(len(lengths))]
	fillPattern(w.data[:n], in.next())
	return w.plain(fmt.Sprint(n), linux.SYS_WRITE, fd, at(w.data), uintptr(n))
}

func (w *world) data_(num int, i byte, n int, off int64) string {
	clear(w.data[:])
	r, errno := w.do(num, w.fd(input{&[]byte{i}}), at(w.data), uintptr(n), uintptr(off))
	if errno != 0 {
		return errno.Name()
	}
	sum := uint32(0)
	for _, b := range w.data[:r] {
		sum = sum*31 + uint32(b)
	}
	return fmt.Sprintf("%d %d at %d = %d, %x", i, n, off, r, sum)
}

func opStat(w *world, in input) string {
	name, flags := in.name(), uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW
	r, errno := w.do(linux.SYS_NEWFSTATAT, w.root, w.str(w.path, name), at(w.st), flags)
	return name + " " + w.stat(r, errno)
}

func opMkdir(w *world, in input) string {
	name := in.name()
	return w.plain(name, linux.SYS_MKDIRAT, w.root, w.str(w.path, name), 0o3777)
}

func opRename(w *world, in input) string {
	from, to, flags := in.name(), in.name(), []uintptr{0, 0, 0, 1, 2, 2, 3, 6, 8}[in.pick(9)]
	if w.ninep && flags == linux.RENAME_EXCHANGE {
		flags = 0
	}
	return w.plain(fmt.Sprint(from, " ", to, " ", flags), linux.SYS_RENAMEAT2, w.root, w.str(w.path, from), w.root, w.str(w.path2, to), flags)
}

func (w *world) inode(fd uintptr) linux.Stat {
	*w.st = linux.Stat{}
	w.do(linux.SYS_FSTAT, fd, at(w.st))
	return *w.st
}

// atCwd is AT_FDCWD as an argument.
const atCwd = ^uintptr(-(linux.AT_FDCWD + 1))
