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
