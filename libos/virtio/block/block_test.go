package block

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// memory is a disk in memory. It fails the test if a driver's request is
// invalid.
type memory struct {
	t    testing.TB
	dev  *virtiotest.Device
	unit int // block size in bytes

	mu       sync.Mutex
	data     []byte
	bad      map[uint64]bool // sectors that fail
	first    func()          // called at the first request of each queue
	requests map[uint32]int  // by type
	largest  map[uint32]int  // largest range in sectors, by type
}

// diskConfig is the configuration of a disk.
type diskConfig struct {
	features             uint64
	size                 int
	sizeMax, segMax      uint32
	blockSize            uint32
	queues               int
	queueSize            int
	maxDiscard, maxZeros uint32
}

func newMemory(t testing.TB, c diskConfig) *memory {
	b := make([]byte, 60)
	le := binary.LittleEndian
	le.PutUint64(b, uint64(c.size/sector))
	le.PutUint32(b[8:], c.sizeMax)
	le.PutUint32(b[12:], c.segMax)
	le.PutUint32(b[20:], c.blockSize)
	b[24], b[25] = 3, 1 // physical blocks have 8 blocks, with an alignment offset of one block
	le.PutUint16(b[26:], 8)
	le.PutUint32(b[28:], 16)
	le.PutUint16(b[34:], uint16(c.queues))
	le.PutUint32(b[36:], c.maxDiscard)
	le.PutUint32(b[48:], c.maxZeros)
	var sizes []int
	for range max(c.queues, 1) {
		sizes = append(sizes, max(c.queueSize, 4))
	}
	m := &memory{t: t, dev: virtiotest.New(virtio.IDBlock, c.features, b, sizes...), unit: sector,
		data: make([]byte, c.size), bad: map[uint64]bool{}, requests: map[uint32]int{}, largest: map[uint32]int{}}
	if c.features&featureBlockSize != 0 {
		m.unit = int(c.blockSize)
	}
	for i := range sizes {
		q := m.dev.Queue(i)
		var once sync.Once
		q.Serve(func(c *virtiotest.Chain) int {
			if m.first != nil {
				once.Do(m.first)
			}
			return m.serve(c)
		})
	}
	return m
}

func (m *memory) serve(c *virtiotest.Chain) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := c.Bytes()
	typ, at := binary.LittleEndian.Uint32(out), binary.LittleEndian.Uint64(out[8:])
	m.requests[typ]++
	out = out[headerSize:]
	room := 0
	for _, b := range c.In {
		room += len(b)
	}
	answer := make([]byte, room)
	status := &answer[room-1]
	check := func(sectors uint64) bool {
		switch {
		case at*sector%uint64(m.unit) != 0 || sectors*sector%uint64(m.unit) != 0:
			m.t.Errorf("request of type %d at sector %d with %d sectors does not consist of whole blocks", typ, at, sectors)
		case (at+sectors)*sector > uint64(len(m.data)):
			m.t.Errorf("request of type %d at sector %d with %d sectors reaches beyond the end", typ, at, sectors)
		default:
			for s := at; s < at+sectors; s++ {
				if m.bad[s] {
					*status = 1
					return false
				}
			}
			return true
		}
		*status = 1
		return false
	}
	switch typ {
	case typeIn:
		if check(uint64(room / sector)) {
			copy(answer[:room-1], m.data[at*sector:])
		}
	case typeOut:
		if check(uint64(len(out) / sector)) {
			copy(m.data[at*sector:], out)
		}
	case typeFlush:
	case typeDiscard, typeWriteZeroes:
		var n uint64
		at, n = binary.LittleEndian.Uint64(out), uint64(binary.LittleEndian.Uint32(out[8:]))
		m.largest[typ] = max(m.largest[typ], int(n))
		if check(n) {
			clear(m.data[at*sector : (at+n)*sector])
		}
	default:
		*status = statusUnsupported
	}
	return c.Fill(answer)
}

func open(t testing.TB, m *memory) *Disk {
	t.Helper()
	d, errno := Open(m.dev)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(d.dev.Shutdown)
	return d
}

func openFile(d *Disk, flags uint32) *File {
	fs := vfs.NewFileSystem("devtmpfs", linux.TMPFS_MAGIC)
	f := NewFile(d, vfs.NewDentry(nil, "vda", vfs.NewDevice(fs, linux.S_IFBLK|0o660, linux.Makedev(254, 0), nil)))
	f.Init(flags)
	return f
}

// kinds are disks that must all behave the same.
var kinds = map[string]diskConfig{
	"plain":          {size: 4 << 20},
	"blocks of 4096": {size: 4 << 20, features: featureBlockSize, blockSize: 4096},
	"small segments": {size: 4 << 20, features: featureSizeMax | featureSegMax, sizeMax: 1000, segMax: 5, queueSize: 64},
	"short queue":    {size: 4 << 20, features: featureSegMax | featureSizeMax, sizeMax: 4096, segMax: 126, queueSize: 8},
	"several queues": {size: 4 << 20, features: featureMultiQueue | featureSegMax, segMax: 126, queues: 4, queueSize: 128},
	"tiny queue":     {size: 4 << 20, queueSize: 4},
	"everything":     {size: 4 << 20, features: features &^ featureReadOnly, sizeMax: 8192, segMax: 16, blockSize: 1024, queues: 2, queueSize: 32, maxDiscard: 64, maxZeros: 6},
	"flags, direct":  {size: 4 << 20, queueSize: 16},
}

// TestADiskIsAFile makes the same random reads and writes on a disk and on a
// file of the host.
func TestADiskIsAFile(t *testing.T) {
	for name, c := range kinds {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t, c)
			if name == "flags, direct" {
				m.dev.Without(virtio.FeatureEventIndex | virtio.FeatureIndirect)
			}
			f := openFile(open(t, m), linux.O_RDWR)
			host, err := os.Create(filepath.Join(t.TempDir(), "disk"))
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			if err := host.Truncate(int64(c.size)); err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 300 {
				off := rnd.Int64N(int64(c.size))
				n := int(min(rnd.Int64N(1<<rnd.IntN(20))+1, int64(c.size)-off))
				if rnd.IntN(3) == 0 {
					off, n = off&^4095, (n+4095)&^4095
				}
				ours, theirs := make([]byte, n), make([]byte, n)
				if rnd.IntN(2) == 0 {
					for i := range ours {
						ours[i] = byte(rnd.Uint32())
					}
					if got, errno := f.Pwrite(ours, off); got != n || errno != 0 {
						t.Fatalf("writing %d bytes at %d returned %d, %s", n, off, got, errno.Name())
					}
					if _, err := host.WriteAt(ours, off); err != nil {
						t.Fatal(err)
					}
					continue
				}
				got, errno := f.Pread(ours, off)
				want, _ := host.ReadAt(theirs, off)
				if got != want || errno != 0 || !bytes.Equal(ours, theirs) {
					t.Fatalf("reading %d bytes at %d returned %d, %s; the file returned %d; same data: %t", n, off, got, errno.Name(), want, bytes.Equal(ours, theirs))
				}
			}
			all, err := os.ReadFile(host.Name())
			if err != nil || !bytes.Equal(all, m.data) {
				t.Errorf("disk and file differ in the end (error %v)", err)
			}
		})
	}
}

func TestManyGoroutinesUseADiskAtOnce(t *testing.T) {
	for name, c := range kinds {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t, c)
			d := open(t, m)
			const goroutines = 24
			var all sync.WaitGroup
			part := c.size / goroutines // parts do not begin at block boundaries
			for g := range goroutines {
				all.Go(func() {
					rnd := rand.New(rand.NewPCG(3, uint64(g)))
					mine := make([]byte, part)
					for range 20 {
						lo := rnd.IntN(part)
						hi := lo + rnd.IntN(part-lo) + 1
						for i := lo; i < hi; i++ {
							mine[i] = byte(rnd.Uint32())
						}
						if n, errno := d.WriteAt(mine[lo:hi], int64(g*part+lo)); n != hi-lo || errno != 0 {
							t.Errorf("write returned %d, %s", n, errno.Name())
						}
					}
					got := make([]byte, part)
					if n, errno := d.ReadAt(got, int64(g*part)); n != part || errno != 0 || !bytes.Equal(got, mine) {
						t.Errorf("reading part %d returned %d, %s; same data: %t", g, n, errno.Name(), bytes.Equal(got, mine))
					}
				})
			}
			all.Wait()
		})
	}
}

// TestQueuesWorkAtTheSameTime uses a device in which each queue waits for the
// other.
func TestQueuesWorkAtTheSameTime(t *testing.T) {
	m := newMemory(t, diskConfig{size: 1 << 20, features: featureMultiQueue, queues: 2, queueSize: 64})
	var both sync.WaitGroup
	both.Add(2)
	m.first = func() {
		both.Done()
		both.Wait()
	}
	d := open(t, m)
	if len(d.lanes) < 2 {
		t.Skip("one CPU")
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if n, errno := d.ReadAt(make([]byte, 4096), 0); n != 4096 || errno != 0 {
				t.Errorf("%d, %s", n, errno.Name())
			}
		})
	}
	all.Wait()
}

func TestErrorsOfTheDeviceReachTheCaller(t *testing.T) {
	m := newMemory(t, diskConfig{size: 1 << 20, features: featureFlush | featureDiscard | featureWriteZeroes | featureSegMax, segMax: 1})
	m.bad[1024] = true // at 512 KiB
	f := openFile(open(t, m), linux.O_RDWR)
	p := make([]byte, 1<<20)
	calls := []struct {
		name  string
		n     int
		errno linux.Errno
		call  func() (int, linux.Errno)
	}{
		{"read before it", 512 << 10, 0, func() (int, linux.Errno) { return f.Pread(p[:512<<10], 0) }},
		{"read up to it", 512 << 10, 0, func() (int, linux.Errno) { return f.Pread(p, 0) }},
		{"read of it", 0, linux.EIO, func() (int, linux.Errno) { return f.Pread(p[:1], 512<<10+5) }},
		{"write of it", 0, linux.EIO, func() (int, linux.Errno) { return f.Pwrite(p[:512], 512<<10) }},
		{"write of a part of it", 0, linux.EIO, func() (int, linux.Errno) { return f.Pwrite(p[:1], 512<<10+5) }},
		{"write up to it", 512 << 10, 0, func() (int, linux.Errno) { return f.Pwrite(p, 0) }},
		{"zeroing it", 0, linux.EIO, func() (int, linux.Errno) {
			return 0, f.Fallocate(linux.FALLOC_FL_ZERO_RANGE, 512<<10, 4096)
		}},
		{"read after it", 512, 0, func() (int, linux.Errno) { return f.Pread(p[:512], 512<<10+512) }},
	}
	for _, c := range calls {
		if n, errno := c.call(); n != c.n || errno != c.errno {
			t.Errorf("%s: %d, %q; want %d, %q", c.name, n, errno.Name(), c.n, c.errno.Name())
		}
	}
}

func TestTheEndOfADisk(t *testing.T) {
	m := newMemory(t, diskConfig{size: 10000 / sector * sector})
	size := int64(len(m.data))
	f := openFile(open(t, m), linux.O_RDWR)
	p := make([]byte, 1000)
	calls := []struct {
		name  string
		n     int64
		errno linux.Errno
		call  func() (int, linux.Errno)
	}{
		{"read across", 10, 0, func() (int, linux.Errno) { return f.Pread(p, size-10) }},
		{"read at", 0, 0, func() (int, linux.Errno) { return f.Pread(p, size) }},
		{"read behind", 0, 0, func() (int, linux.Errno) { return f.Pread(p, size+10) }},
		{"write across", 10, 0, func() (int, linux.Errno) { return f.Pwrite(p, size-10) }},
		{"write at", 0, linux.ENOSPC, func() (int, linux.Errno) { return f.Pwrite(p, size) }},
		{"read before the beginning", 0, linux.EINVAL, func() (int, linux.Errno) { return f.Pread(p, -10) }},
		{"write before the beginning", 0, linux.EINVAL, func() (int, linux.Errno) { return f.Pwrite(p, -10) }},
		{"write of nothing", 0, 0, func() (int, linux.Errno) { return f.Pwrite(nil, size) }},
		{"truncate", 0, linux.EINVAL, func() (int, linux.Errno) { return 0, f.Truncate(0) }},
	}
	for _, c := range calls {
		if n, errno := c.call(); int64(n) != c.n || errno != c.errno {
			t.Errorf("%s: %d, %q; want %d, %q", c.name, n, errno.Name(), c.n, c.errno.Name())
		}
	}
	for _, s := range []struct {
		off    int64
		whence int
		want   int64
		errno  linux.Errno
	}{
		{0, linux.SEEK_END, size, 0}, {-10, linux.SEEK_CUR, size - 10, 0}, {7, linux.SEEK_SET, 7, 0},
		{-8, linux.SEEK_CUR, 0, linux.EINVAL}, {1, linux.SEEK_END, 0, linux.EINVAL}, {1 << 62, linux.SEEK_CUR, 0, linux.EINVAL},
		{0, linux.SEEK_DATA, 0, linux.EINVAL}, {0, linux.SEEK_CUR, 7, 0},
	} {
		if got, errno := f.Lseek(s.off, s.whence); got != s.want || errno != s.errno {
			t.Errorf("lseek(%d, %d): %d, %q; want %d, %q", s.off, s.whence, got, errno.Name(), s.want, s.errno.Name())
		}
	}
}

func TestADiskThatGrows(t *testing.T) {
	m := newMemory(t, diskConfig{size: 1 << 20})
	d := open(t, m)
	m.mu.Lock()
	m.data = append(m.data, make([]byte, 1<<20)...)
	m.mu.Unlock()
	m.dev.Change(func(config []byte) { binary.LittleEndian.PutUint64(config, 2<<20/sector) })
	for d.Size() != 2<<20 {
		runtime.Gosched()
	}
	if n, errno := d.WriteAt(make([]byte, 4096), 1<<20); n != 4096 || errno != 0 {
		t.Errorf("%d, %s", n, errno.Name())
	}
}

func TestAReadOnlyDiskRefusesToChange(t *testing.T) {
	m := newMemory(t, diskConfig{size: 1 << 20, features: featureReadOnly | featureDiscard})
	d := open(t, m)
	for name, errno := range map[string]linux.Errno{
		"write":   func() linux.Errno { _, errno := d.WriteAt(make([]byte, 512), 0); return errno }(),
		"zero":    d.WriteZeroes(0, 512, false),
		"discard": d.Discard(0, 512),
	} {
		if errno != linux.EPERM {
			t.Errorf("%s: %q", name, errno.Name())
		}
	}
	if errno := openFile(d, linux.O_RDONLY).Sync(); errno != 0 {
		t.Errorf("fsync: %s", errno.Name())
	}
}

func TestOnlyADiskWithACacheIsFlushed(t *testing.T) {
	for _, features := range []uint64{0, featureFlush} {
		m := newMemory(t, diskConfig{size: 1 << 20, features: features})
		d := open(t, m)
		if errno := openFile(d, linux.O_RDWR).Sync(); errno != 0 {
			t.Error(errno.Name())
		}
		if n, errno := openFile(d, linux.O_RDWR|linux.O_DSYNC).Pwrite(make([]byte, 512), 0); n != 512 || errno != 0 {
			t.Error(errno.Name())
		}
		if want := 2 * int(features/featureFlush); m.requests[typeFlush] != want {
			t.Errorf("the device got %d flushes, want %d", m.requests[typeFlush], want)
		}
	}
}

func TestRangesAreSplitToTheDevicesLimits(t *testing.T) {
	m := newMemory(t, diskConfig{size: 1 << 20, features: featureDiscard | featureWriteZeroes | featureBlockSize, blockSize: 1024, maxDiscard: 100, maxZeros: 7})
	d := open(t, m)
	fill := bytes.Repeat([]byte{'x'}, 1<<20)
	for name, clear := range map[string]func() linux.Errno{
		"discard": func() linux.Errno { return d.Discard(1024, 512<<10) },
		"zero":    func() linux.Errno { return d.WriteZeroes(1024, 512<<10, true) },
	} {
		d.WriteAt(fill, 0)
		if errno := clear(); errno != 0 {
			t.Errorf("%s: %s", name, errno.Name())
		}
		if n := bytes.Count(m.data, []byte{0}); n != 512<<10 || m.data[1023] != 'x' || m.data[1024] != 0 {
			t.Errorf("%s: %d bytes are zero, want 512 KiB, or the wrong ones", name, n)
		}
	}
	if m.largest[typeDiscard] != 100 || m.largest[typeWriteZeroes] != 6 {
		t.Errorf("largest ranges are %v, want 100 and 6 sectors", m.largest)
	}
	for _, r := range [][2]int64{{1, 1024}, {1024, 1}, {0, 2 << 20}, {2 << 20, 0}, {-1024, 1024}} {
		if errno := d.Discard(r[0], r[1]); errno != linux.EINVAL {
			t.Errorf("%v: %q", r, errno.Name())
		}
	}
}

func TestZeroesAreWrittenIfTheDeviceCannotMakeThem(t *testing.T) {
	m := newMemory(t, diskConfig{size: 1 << 20})
	d := open(t, m)
	d.WriteAt(bytes.Repeat([]byte{'x'}, 1<<20), 0)
	if errno := d.WriteZeroes(512, 600<<10, false); errno != 0 {
		t.Fatal(errno.Name())
	}
	if n := bytes.Count(m.data, []byte{0}); n != 600<<10 || m.data[512] != 0 {
		t.Errorf("%d bytes are zero, want 600 KiB, or the wrong ones", n)
	}
	if errno := d.Discard(0, 512); errno != linux.EOPNOTSUPP {
		t.Errorf("discard: %s, want EOPNOTSUPP", errno.Name())
	}
}

func TestIoctlsReturnTheGeometry(t *testing.T) {
	m := newMemory(t, diskConfig{size: 1 << 20, features: featureBlockSize | featureTopology | featureReadOnly, blockSize: 4096})
	f := openFile(open(t, m), linux.O_RDONLY)
	for _, c := range []struct {
		name string
		req  uint
		want uint64
	}{
		{"BLKGETSIZE64", blkGetSize64, 1 << 20}, {"BLKGETSIZE", blkGetSize, 2048}, {"BLKSSZGET", blkSectorSize, 4096},
		{"BLKPBSZGET", blkPhysical, 32768}, {"BLKIOMIN", blkIOMin, 32768}, {"BLKIOOPT", blkIOOpt, 65536},
		{"BLKALIGNOFF", blkAlignOff, 4096}, {"BLKROGET", blkROGet, 1},
	} {
		var v uint64
		if _, errno := f.Ioctl(c.req, uintptr(unsafe.Pointer(&v))); errno != 0 || v != c.want {
			t.Errorf("%s: %d, %q; want %d", c.name, v, errno.Name(), c.want)
		}
	}
	if _, errno := f.Ioctl(0x5401, 0); errno != linux.ENOTTY {
		t.Errorf("TCGETS: %s, want ENOTTY", errno.Name())
	}
	if _, errno := f.Ioctl(blkGetSize64, 0); errno != linux.EFAULT {
		t.Errorf("BLKGETSIZE64 with a null pointer: %s, want EFAULT", errno.Name())
	}
}

func TestInvalidConfigurationsAreRefused(t *testing.T) {
	for name, c := range map[string]diskConfig{
		"blocks of 100":                {features: featureBlockSize, blockSize: 100},
		"blocks of 1 MiB":              {features: featureBlockSize, blockSize: 1 << 20},
		"no room for a block":          {features: featureBlockSize | featureSizeMax, blockSize: 4096, sizeMax: 4095},
		"blocks of nothing":            {features: featureBlockSize},
		"segments of a byte":           {features: featureSizeMax | featureSegMax, sizeMax: 1, segMax: 1},
		"more sectors than bytes have": {},
	} {
		c.size = 1 << 20
		m := newMemory(t, c)
		if c.features == 0 {
			m.dev.Change(func(config []byte) { config[7] = 0xff })
		}
		if _, errno := Open(m.dev); errno != linux.EIO {
			t.Errorf("%s: %q", name, errno.Name())
		}
	}
}

func TestABrokenDiskIsAnErrorAndNoHang(t *testing.T) {
	dev := virtiotest.New(virtio.IDBlock, 0, binary.LittleEndian.AppendUint64(nil, 2048), 8)
	d, errno := Open(dev)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer d.dev.Shutdown()
	const callers = 40 // more than there are requests
	errs := make(chan string, callers)
	for range callers {
		go func() {
			n, errno := d.ReadAt(make([]byte, 1<<20), 0)
			errs <- fmt.Sprint(n, errno.Name())
		}()
	}
	for ok := false; !ok; {
		_, ok = dev.Queue(0).Pop()
	}
	dev.Queue(0).Lie(77, 0)
	for range callers {
		if got := <-errs; got != "0"+linux.EIO.Name() {
			t.Errorf("read of a broken disk returned %s, want 0 and EIO", got)
		}
	}
	if errno := d.Flush(); errno != 0 {
		t.Errorf("flush without a cache: %s", errno.Name())
	}
	if _, errno := d.WriteAt(make([]byte, 512), 0); errno != linux.EIO {
		t.Errorf("write to a broken disk: %s, want EIO", errno.Name())
	}
}
