package ninep

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	client "github.com/pith-os/pith/libos/vfs/ninep"
)

// BenchmarkReads measures sequential reads of a file with libos' driver. The
// small size shows the cost of a message, the large ones the cost of its bytes.
func BenchmarkReads(b *testing.B) {
	for _, size := range []int{1, 64 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			dir := b.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, size), 0o600); err != nil {
				b.Fatal(err)
			}
			mem := devicetest.Memory(b, 8<<20)
			dev, fd := sockets(b)
			serve(b, dir, fd, MaxMessage)
			fs, errno := client.New(mount(b, New(mem, "share", dev)), false)
			if errno != 0 {
				b.Fatal(errno.Name())
			}
			entry, errno := fs.Root().(vfs.Dir).Lookup(vfs.NewDentry(nil, "/", fs.Root()), "file")
			if errno != 0 {
				b.Fatal(errno.Name())
			}
			f, errno := entry.Inode().Open(entry, linux.O_RDONLY)
			if errno != 0 {
				b.Fatal(errno.Name())
			}
			p := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				for off := 0; off < size; {
					n, errno := f.(interface {
						Pread([]byte, int64) (int, linux.Errno)
					}).Pread(p[off:], int64(off))
					if errno != 0 || n == 0 {
						b.Fatal(n, errno.Name())
					}
					off += n
				}
			}
		})
	}
}
