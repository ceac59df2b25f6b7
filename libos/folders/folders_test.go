package folders

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	vfsninep "github.com/pith-os/pith/libos/vfs/ninep"
	"github.com/pith-os/pith/libos/vfs/ninep/ninetest"

	"golang.org/x/sys/unix"
)

// client is a transport whose socket can be closed. A Tclunk in the background
// outlives the test that caused it. It must not use the descriptor's number
// once that is another socket's.
type client struct {
	*socket
	inFlight sync.RWMutex
}

func (c *client) Exchange(i int, out, in [][]byte) (int, linux.Errno) {
	c.inFlight.RLock()
	defer c.inFlight.RUnlock()
	return c.socket.Exchange(i, out, in)
}

// disconnect fails the exchanges in flight and all later ones.
func (c *client) disconnect() {
	c.mu.Lock()
	c.fail()
	c.mu.Unlock()
	_ = c.host.Shutdown(unix.SHUT_RDWR) // ignore the error: the server may have closed its end
}

func (c *client) close() {
	c.disconnect()
	c.inFlight.Lock() // after the last exchange that has begun
	c.host.Close()
	c.inFlight.Unlock()
}

// pair returns a transport, and the server's end of its socket, which is
// blocking.
func pair(t testing.TB) (*client, int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	host, errno := platform.OpenHost(fds[0])
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	c := &client{socket: newSocket(host)}
	t.Cleanup(c.close)
	return c, fds[1]
}

// serve starts a server for folders and returns a transport to it.
func serve(t testing.TB, folders ...ninep.Folder) *client {
	t.Helper()
	server, err := ninep.New(folders, boot.MaxFilesMessage)
	if err != nil {
		t.Fatal(err)
	}
	k, fd := pair(t)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(fd) }()
	t.Cleanup(func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.Close()
		unix.Close(fd)
	})
	return k
}

// open opens a regular file in the root of fs.
func open(fs *vfsninep.FS, name string) (file.File, linux.Errno) {
	dir := fs.Root().(vfs.Dir)
	d, errno := dir.Lookup(vfs.NewDentry(nil, "/", dir), name)
	if errno != 0 {
		return nil, errno
	}
	return d.Inode().Open(d, linux.O_RDWR)
}

func TestFoldersOnOneSocketServeConcurrentRequests(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	k := serve(t, ninep.Folder{Name: "fs0", Path: dirs[0]}, ninep.Folder{Name: "fs1", Path: dirs[1]})
	session, errno := vfsninep.Connect(k)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	var roots [2]*vfsninep.FS
	for i := range roots {
		if roots[i], errno = session.Attach(fmt.Sprintf("fs%d", i), false); errno != 0 {
			t.Fatal(errno.Name())
		}
	}
	var done sync.WaitGroup
	for n := range 2 * maxSlots {
		done.Go(func() {
			name := fmt.Sprint(n)
			data := make([]byte, 300_000+n)
			rand.NewChaCha8([32]byte{byte(n)}).Read(data)
			path := filepath.Join(dirs[n%2], name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Error(err)
				return
			}
			f, errno := open(roots[n%2], name)
			if errno != 0 {
				t.Error(errno.Name())
				return
			}
			defer f.Release()
			if put, errno := f.Pwrite(data, 0); put != len(data) || errno != 0 {
				t.Errorf("wrote %d bytes of the file: %s", put, errno.Name())
			}
			back := make([]byte, len(data)+10)
			if got, errno := f.Pread(back, 0); got != len(data) || errno != 0 || !bytes.Equal(back[:got], data) {
				t.Errorf("read %d bytes, or the data differ: %s", got, errno.Name())
			}
			if host, err := os.ReadFile(path); err != nil || !bytes.Equal(host, data) {
				t.Errorf("the host's file has %d bytes and differs: %v", len(host), err)
			}
		})
	}
	done.Wait()
}

func TestMountingAnUnknownFolderFails(t *testing.T) {
	k := serve(t, ninep.Folder{Name: "fs0", Path: t.TempDir()})
	if errno := mount(k, []boot.Mount{{Tag: "fs1", Path: "/data"}}); errno != linux.ENOENT {
		t.Errorf("mounting a folder that the server does not have: %s, want ENOENT", errno.Name())
	}
}

// Requests that wait when the server disconnects fail, and so do later ones.
func TestRequestsFailAfterTheServerDisconnects(t *testing.T) {
	k, fd := pair(t)
	server := ninetest.New(t.TempDir())
	defer server.Close()
	const waiting = 5
	go func() {
		defer unix.Close(fd)
		buf := make([]byte, boot.MaxFilesMessage)
		for n := 0; n < 2+waiting; n++ {
			size, err := unix.Read(fd, buf)
			if err != nil {
				t.Error(err)
				return
			}
			if n < 2 { // Tversion, Tattach
				if err := unix.Send(fd, server.Handle(buf[:size]), 0); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	fs, errno := vfsninep.New(k, false)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	stat := func() {
		var st linux.Stat
		if errno := fs.Root().(vfs.Remote).TryStat(&st); errno != linux.EIO {
			t.Errorf("stat without a server: %s, want EIO", errno.Name())
		}
	}
	var done sync.WaitGroup
	for range waiting {
		done.Go(stat)
	}
	done.Wait()
	stat()
}

// FuzzLyingServer lets the fuzzer choose the server's replies. Every request
// must end. The fuzz test of package vfs/ninep checks what the client makes of
// replies.
func FuzzLyingServer(f *testing.F) {
	f.Add([]byte("begin"))
	f.Add([]byte{9, 9, 9, 9, 2, 9, 1, 5, 9, 9, 0, 4})
	f.Fuzz(func(t *testing.T, script []byte) {
		k, fd := pair(t)
		server := ninetest.New(t.TempDir())
		defer server.Close()
		ended := make(chan struct{})
		go func() {
			lie(fd, server, script)
			close(ended)
		}()
		if fs, errno := vfsninep.New(k, false); errno == 0 {
			var done sync.WaitGroup
			for n := range 3 {
				done.Go(func() { exercise(fs.Root().(vfs.MutableDir), fmt.Sprint(n)) })
			}
			done.Wait()
		}
		k.disconnect()
		<-ended
		unix.Close(fd)
	})
}

// lie answers the requests on fd as the script says, and disconnects at the
// end.
func lie(fd int, server *ninetest.Server, script []byte) {
	defer unix.Shutdown(fd, unix.SHUT_RDWR)
	buf := make([]byte, boot.MaxFilesMessage)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n == 0 {
			return
		}
		reply := server.Handle(buf[:n])
		what := 200
		if len(script) > 0 {
			what, script = int(script[0]), script[1:]
		}
		replies := [][]byte{reply}
		switch {
		case what < 8: // too short
			replies[0] = reply[:what]
		case what < 16: // another tag, perhaps that of another request
			reply[5] = byte(what - 8)
		case what < 32: // sent twice
			replies = append(replies, reply)
		case what < 48: // changed byte
			reply[what%len(reply)] ^= byte(what)
		case what < 64: // longer than its size field
			replies[0] = append(reply, make([]byte, what*2000)...)
		case what < 72: // shorter than its size field
			replies[0] = reply[:len(reply)-1]
		case what < 76:
			binary.LittleEndian.PutUint32(reply, uint32(what))
		case what < 78: // disconnected
			return
		}
		for _, r := range replies {
			if unix.Send(fd, r, unix.MSG_NOSIGNAL) != nil {
				return
			}
		}
	}
}

// exercise makes a few requests and ignores their results.
func exercise(root vfs.MutableDir, name string) {
	top := vfs.NewDentry(nil, "/", root)
	d, errno := root.Make(top, name, &vfs.NewInode{Mode: linux.S_IFREG | 0o600})
	if errno == 0 {
		if f, errno := d.Inode().Open(d, linux.O_RDWR); errno == 0 {
			f.Write(make([]byte, 100_000))
			f.Pread(make([]byte, 100_000), 0)
			f.Release()
		}
	}
	var st linux.Stat
	root.Stat(&st)
	root.Lookup(top, "none")
}
