package inet

import (
	"bytes"
	"crypto/rand"
	"runtime"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// loopbackPair returns a connection over the stack's loopback interface.
func loopbackPair(t testing.TB) (client, server socket.Socket) {
	t.Helper()
	check := func(errno linux.Errno) {
		t.Helper()
		if errno != 0 && errno != linux.EINPROGRESS {
			t.Fatalf("errno %d", errno)
		}
	}
	l, errno := open(linux.AF_INET, linux.SOCK_STREAM, 0)
	check(errno)
	defer l.Release()
	check(l.Bind(inet4(127, 0, 0, 1, 0)))
	check(l.Listen(1))
	name, errno := l.LocalAddr()
	check(errno)
	client, errno = open(linux.AF_INET, linux.SOCK_STREAM, 0)
	check(errno)
	check(client.Connect(name))
	server = blocking(t, l, wait.In, l.Accept)
	return client, server
}

// writeAll writes p, and waits for room.
func writeAll(t testing.TB, s socket.Socket, p []byte) {
	for len(p) > 0 {
		n := blocking(t, s, wait.Out, func() (int, linux.Errno) { return s.Write(p) })
		p = p[n:]
	}
}

func TestAStreamCarriesBulkDataBothWays(t *testing.T) {
	client, server := loopbackPair(t)
	defer client.Release()
	defer server.Release()
	const size = 32 << 20
	data := make([]byte, size)
	rand.Read(data)
	var all sync.WaitGroup
	for _, way := range [][2]socket.Socket{{client, server}, {server, client}} {
		all.Go(func() {
			writeAll(t, way[0], data)
			if errno := way[0].Shutdown(linux.SHUT_WR); errno != 0 {
				t.Errorf("shutdown: errno %d", errno)
			}
		})
		all.Go(func() {
			got := make([]byte, 0, size)
			for buf := make([]byte, 24<<10); ; {
				n := blocking(t, way[1], wait.In, func() (int, linux.Errno) { return way[1].Read(buf) })
				if n == 0 {
					break
				}
				got = append(got, buf[:n]...)
			}
			if !bytes.Equal(got, data) {
				t.Errorf("%d of %d bytes arrived, or the data differ", len(got), size)
			}
		})
	}
	all.Wait()
}

func TestStreamAllocations(t *testing.T) {
	client, server := loopbackPair(t)
	defer client.Release()
	defer server.Release()
	p, buf := make([]byte, 64), make([]byte, 128)
	if n := testing.AllocsPerRun(200, func() {
		if _, errno := client.Write(p); errno != 0 {
			t.Errorf("write: errno %d", errno)
		}
		for server.Ready()&wait.In == 0 {
			runtime.Gosched()
		}
		if _, errno := server.Read(buf); errno != 0 {
			t.Errorf("read: errno %d", errno)
		}
	}); n > 12 { // the stack's own allocations: segments, packet lists
		t.Errorf("%.0f allocations per message, want at most 12", n)
	}
}
