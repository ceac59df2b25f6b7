package proc

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/mm"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/memfs"
)

func init() {
	Files = new(file.Table)
	vfs.AddMount("rootfs", "/", "rw", func() vfs.Inode { return memfs.New(0).Root() })
}

func read(t *testing.T, path string) string {
	t.Helper()
	f, errno := vfs.Open(vfs.Root(), path, linux.O_RDONLY, 0)
	if errno != 0 {
		t.Fatalf("open %s: %s", path, errno.Name())
	}
	defer f.Release()
	p := make([]byte, 64<<10)
	n, errno := f.Read(p)
	if errno != 0 {
		t.Fatalf("read %s: %s", path, errno.Name())
	}
	return string(p[:n])
}

// keys returns the first word of each line, up to a colon or blank.
func keys(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, ": \t"); i > 0 {
			out = append(out, line[:i])
		}
	}
	return out
}

// TestFormatsAreThoseOfLinux compares tables with the host's: each of our lines
// must exist there and have as many fields.
func TestFormatsAreThoseOfLinux(t *testing.T) {
	tests := []struct {
		path  string
		extra []string // lines that the host's kernel may lack
	}{
		{"/proc/self/status", nil},
		{"/proc/self/stat", nil},
		{"/proc/self/statm", nil},
		{"/proc/self/io", nil},
		{"/proc/meminfo", []string{"KReclaimable", "HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp", "Hugepagesize"}},
		{"/proc/stat", []string{"cpu1", "intr"}},
		{"/proc/loadavg", nil},
		{"/proc/uptime", nil},
		{"/proc/net/sockstat", nil},
	}
	oneLine := []string{"/proc/loadavg", "/proc/uptime", "/proc/self/stat", "/proc/self/statm"}
	for _, tt := range tests {
		b, err := os.ReadFile(tt.path)
		if err != nil {
			t.Logf("%s does not exist on the host: %v", tt.path, err)
			continue
		}
		theirs := map[string]int{}
		for line := range strings.Lines(string(b)) {
			if k := keys(line); k != nil {
				theirs[k[0]] = len(strings.Fields(line))
			}
		}
		for line := range strings.Lines(read(t, tt.path)) {
			k := keys(line)
			if k == nil || slices.Contains(tt.extra, k[0]) {
				continue
			}
			if slices.Contains(oneLine, tt.path) {
				if n, m := len(strings.Fields(line)), len(strings.Fields(string(b))); n != m {
					t.Errorf("%s: line has %d fields, in Linux %d: %s", tt.path, n, m, line)
				}
				continue
			}
			switch n, ok := theirs[k[0]]; {
			case !ok:
				t.Errorf("%s: Linux has no line %q", tt.path, k[0])
			case n != len(strings.Fields(line)) && k[0] != "Groups":
				t.Errorf("%s: line has %d fields, in Linux %d: %s", tt.path, len(strings.Fields(line)), n, line)
			}
		}
	}
}

func TestNetworkTablesHaveTheHeadersOfLinux(t *testing.T) {
	for _, name := range []string{"arp", "dev", "route", "tcp", "tcp6", "udp", "udp6", "protocols", "unix"} {
		b, err := os.ReadFile("/proc/net/" + name)
		if err != nil {
			t.Logf("/proc/net/%s does not exist on the host: %v", name, err)
			continue
		}
		ours := read(t, "/proc/net/"+name)
		want := string(b)
		for line := range strings.Lines(ours) {
			var first string
			first, want, _ = strings.Cut(want, "\n")
			if strings.TrimRight(line, " \n") != strings.TrimRight(first, " ") {
				t.Errorf("%s:\n%sLinux:\n%s", name, line, first)
			}
		}
	}
}

func TestLimitsHaveTheColumnsOfLinux(t *testing.T) {
	b, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Skip(err)
	}
	theirs := strings.Split(string(b), "\n")
	for i, line := range strings.Split(read(t, "/proc/self/limits"), "\n") {
		const name, unit = 26, 68
		if line != "" && (line[:name] != theirs[i][:name] || line[unit:] != theirs[i][unit:]) {
			t.Errorf("limits has line %q, in Linux %q", line, theirs[i])
		}
	}
}

func TestARegisteredTableReplacesTheDefault(t *testing.T) {
	Register("net/if_inet6", func() []byte { return []byte("table\n") })
	for _, path := range []string{"/proc/net/if_inet6", "/proc/self/net/if_inet6", "/proc/1/net/if_inet6"} {
		if got := read(t, path); got != "table\n" {
			t.Errorf("%s has %q, want the registered table", path, got)
		}
	}
}

func TestVariables(t *testing.T) {
	c := platform.Config()
	tests := map[string]string{
		"/proc/sys/kernel/hostname":  c.Hostname + "\n",
		"/proc/sys/kernel/ostype":    "Linux\n",
		"/proc/sys/kernel/osrelease": linux.Release + "\n",
		"/proc/sys/fs/nr_open":       "65536\n",
		"/proc/self/cmdline":         strings.Join(os.Args, "\x00") + "\x00",
		"/proc/self/environ":         strings.Join(os.Environ(), "\x00") + "\x00",
		"/proc/self/cgroup":          "0::/\n",
		"/proc/self/comm":            "proc.test\n",
		"/proc/thread-self/comm":     "proc.test\n",
		"/proc/self/mounts":          "rootfs / tmpfs rw 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n",
	}
	for path, want := range tests {
		if got := read(t, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if a, b := read(t, "/proc/sys/kernel/random/uuid"), read(t, "/proc/sys/kernel/random/uuid"); a == b || len(a) != 37 || a[14] != '4' {
		t.Errorf("random/uuid is not a fresh version 4 UUID at each open: %q, %q", a, b)
	}
	if a, b := read(t, "/proc/sys/kernel/random/boot_id"), read(t, "/proc/sys/kernel/random/boot_id"); a != b {
		t.Errorf("random/boot_id changed from %q to %q", a, b)
	}
	if n := strings.Count(read(t, "/proc/cpuinfo"), "processor\t: "); n != c.CPUs {
		t.Errorf("cpuinfo lists %d of %d processors", n, c.CPUs)
	}
}

func TestEveryVariableIsKnown(t *testing.T) {
	for _, texts := range []string{systemTexts, processTexts, netTexts} {
		expand(texts) // panics on an unknown variable
	}
}

func TestMapsShowWhatWasMapped(t *testing.T) {
	addr, errno := mm.MapAnonymous(0, 2*platform.PageSize, 3, 0x22)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer mm.Unmap(addr, 2*platform.PageSize)
	want := string(address(nil, addr)) + "-" + string(address(nil, addr+2*platform.PageSize)) + " rw-p 00000000 00:00 0 \n"
	if got := read(t, "/proc/self/maps"); !strings.Contains(got, want) {
		t.Errorf("/proc/self/maps is %q, which lacks %q", got, want)
	}
}

func TestOomScoreAdjCanBeWritten(t *testing.T) {
	f, errno := vfs.Open(vfs.Root(), "/proc/self/oom_score_adj", linux.O_RDWR|linux.O_TRUNC, 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if n, errno := f.Write([]byte("-500")); n != 4 || errno != 0 {
		t.Errorf("write: %d, %s", n, errno.Name())
	}
	if got := read(t, "/proc/1/oom_score_adj"); got != "-500\n" {
		t.Errorf("oom_score_adj is %q after -500 was written", got)
	}
	if _, errno := vfs.Open(vfs.Root(), "/proc/self/stat", linux.O_WRONLY, 0); errno != linux.EACCES {
		t.Errorf("opening stat for writing: %s, want EACCES", errno.Name())
	}
}

// stream is a file without a name.
type stream struct {
	file.Base
	reopened uint32
}

func (s *stream) Stat(st *linux.Stat) linux.Errno {
	*st = linux.Stat{Mode: linux.S_IFSOCK | 0o777, Ino: 77}
	return 0
}

// reopenable is a file without a name that can be reopened, like a pipe.
type reopenable struct{ stream }

func (r *reopenable) Stat(st *linux.Stat) linux.Errno {
	*st = linux.Stat{Mode: linux.S_IFIFO | 0o600}
	return 0
}

func (r *reopenable) Name() string { return "thing" }

func (r *reopenable) Reopen(flags uint32) (file.File, linux.Errno) {
	r.reopened = flags
	return r, 0
}

func TestDescriptors(t *testing.T) {
	named, errno := vfs.Open(vfs.Root(), "/named", linux.O_RDWR|linux.O_CREAT, 0o600)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	named.Write([]byte("abc"))
	again := &reopenable{}
	for fd, f := range []file.File{&stream{}, again, named} {
		if got, _ := Files.Install(f, 0, false); got != fd {
			t.Fatalf("descriptor %d, want %d", got, fd)
		}
	}
	defer func() {
		for fd := range 3 {
			Files.Close(fd)
		}
	}()
	for fd, want := range []string{"socket:[77]", "thing", "/named"} {
		d, errno := vfs.Walk(vfs.Root(), "/proc/self/fd/"+string('0'+rune(fd)), false)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		if got, _ := d.Inode().(vfs.Symlink).Readlink(); got != want {
			t.Errorf("descriptor %d: %q, want %q", fd, got, want)
		}
	}
	opens := []struct {
		path  string
		errno linux.Errno
	}{{"/proc/self/fd/0", linux.ENXIO}, {"/proc/self/fd/1", 0}, {"/proc/self/fd/2", 0}, {"/proc/self/fd/3", linux.ENOENT}, {"/proc/self/fd/01", linux.ENOENT}}
	for _, o := range opens {
		if _, errno := vfs.Open(vfs.Root(), o.path, linux.O_RDWR, 0); errno != o.errno {
			t.Errorf("open %s: %q, want %q", o.path, errno.Name(), o.errno.Name())
		}
	}
	if again.reopened&linux.O_ACCMODE != linux.O_RDWR {
		t.Errorf("the file was reopened with flags %#x, want O_RDWR", again.reopened)
	}
	if got := read(t, "/proc/self/fdinfo/2"); !strings.HasPrefix(got, "pos:\t3\nflags:\t0100002\n") {
		t.Errorf("fdinfo has %q", got)
	}
	dir, errno := vfs.Open(vfs.Root(), "/proc/self/fd", linux.O_RDONLY|linux.O_DIRECTORY, 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	var names []string
	dir.(*vfs.DirFile).ReadDir(func(e vfs.DirEntry) bool { names = append(names, e.Name); return true })
	if want := []string{".", "..", "0", "1", "2"}; !slices.Equal(names, want) {
		t.Errorf("entries %q, want %q", names, want)
	}
}

func TestLinksToDirectories(t *testing.T) {
	for path, want := range map[string]string{"/proc/self/root": "/", "/proc/self/cwd": "/", "/proc/self": "1", "/proc/thread-self": "1/task/1"} {
		d, errno := vfs.Walk(vfs.Root(), path, false)
		if errno != 0 {
			t.Fatalf("%s: %s", path, errno.Name())
		}
		if got, _ := d.Inode().(vfs.Symlink).Readlink(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if d, errno := vfs.Walk(vfs.Root(), "/proc/self/cwd/proc/1/stat", true); errno != 0 || d.Path() != "/proc/1/stat" {
		t.Errorf("a path through /proc/self/cwd: %s", errno.Name())
	}
}
