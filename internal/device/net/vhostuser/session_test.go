package vhostuser

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

const (
	entries = 64
	userGap = 0x7f00_0000_0000 // the front end maps guest-physical address a at userGap+a
	memSize = 1 << 20
	bufAddr = memSize / 2 // queues are below, buffers above

	features = featureProtocol | device.FeatureVersion1 | device.FeatureEventIdx | device.FeatureIndirect | 1<<15
)

// frontEnd is a front end in this process, with the driver of a card of one pair.
type frontEnd struct {
	*testing.T
	conn   *net.UnixConn
	memfd  int
	guest  []byte
	mem    *virtqueue.Memory
	queues [2]*virtqueuetest.Driver
	kicks  [2]int
	calls  [2]int
}

// connect starts a server for b and connects to it.
func connect(t *testing.T, b Backend) (*net.UnixConn, *Server) {
	t.Helper()
	server, err := Listen(b)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d", server.File().Fd()), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close() // a test may have done so
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn, server
}

func newFrontEnd(t *testing.T, b Backend) *frontEnd {
	t.Helper()
	conn, _ := connect(t, b)
	f := &frontEnd{T: t, conn: conn}
	f.memfd, f.guest = sealed(t, memSize)
	var err error
	if f.mem, err = virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: f.guest}}); err != nil {
		t.Fatal(err)
	}
	for i := range f.queues {
		f.queues[i] = virtqueuetest.New(f.mem, uint64(i)*virtqueuetest.Size(entries), entries, true)
		f.kicks[i], f.calls[i] = eventFD(t), eventFD(t)
	}
	return f
}

// sealed returns a memfd like QEMU's, and its mapping.
func sealed(t testing.TB, size int) (fd int, mem []byte) {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		err = unix.Ftruncate(fd, int64(size))
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW)
	}
	if err == nil {
		mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(unix.Munmap(mem), unix.Close(fd)) })
	return fd, mem
}

func eventFD(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func u32s(v ...uint32) (b []byte) {
	for _, x := range v {
		b = le.AppendUint32(b, x)
	}
	return b
}

func u64s(v ...uint64) (b []byte) {
	for _, x := range v {
		b = le.AppendUint64(b, x)
	}
	return b
}

// region returns a memory table of one region.
func region(guest, size, user, offset uint64) []byte {
	return append(u32s(1, 0), u64s(guest, size, user, offset)...)
}

func send(conn *net.UnixConn, flags uint32, r request, payload []byte, fds ...int) error {
	b := append(u32s(uint32(r), flags, uint32(len(payload))), payload...)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err := conn.WriteMsgUnix(b, oob, nil)
	return err
}

// send sends a message that has no reply.
func (f *frontEnd) send(r request, payload []byte, fds ...int) {
	f.Helper()
	if err := send(f.conn, version, r, payload, fds...); err != nil {
		f.Fatalf("%v: %v", r, err)
	}
}

// ask sends a message and returns the payload of its reply.
func (f *frontEnd) ask(flags uint32, r request, payload []byte, fds ...int) []byte {
	f.Helper()
	if err := send(f.conn, version|flags, r, payload, fds...); err != nil {
		f.Fatalf("%v: %v", r, err)
	}
	var h [headerSize]byte
	if _, err := io.ReadFull(f.conn, h[:]); err != nil {
		f.Fatalf("%v: %v", r, err)
	}
	if request(le.Uint32(h[:])) != r || le.Uint32(h[4:]) != version|flagReply {
		f.Fatalf("%v is answered by % x", r, h)
	}
	b := make([]byte, le.Uint32(h[8:]))
	if _, err := io.ReadFull(f.conn, b); err != nil {
		f.Fatal(err)
	}
	return b
}

func (f *frontEnd) negotiate(features uint64) {
	f.Helper()
	f.send(setOwner, nil)
	if got := le.Uint64(f.ask(0, getFeatures, nil)); features&^got != 0 {
		f.Fatalf("offered %#x", got)
	}
	if got := le.Uint64(f.ask(0, getProtocolFeatures, nil)); got != protocolMQ|protocolReplyAck {
		f.Fatalf("protocol features %#x", got)
	}
	f.send(setProtocolFeatures, u64s(protocolReplyAck))
	if got := le.Uint64(f.ask(0, getQueueNum, nil)); got != 1 {
		f.Fatalf("%d pairs", got)
	}
	f.send(setFeatures, u64s(features))
}

func (f *frontEnd) share() {
	f.Helper()
	if got := f.ask(flagNeedReply, setMemTable, region(0, memSize, userGap, 0), f.memfd); le.Uint64(got) != 0 {
		f.Fatalf("SET_MEM_TABLE is answered by % x", got)
	}
}

// startQueue starts queue i at available chain next. The last message starts it.
func (f *frontEnd) startQueue(i int, next uint32) {
	f.Helper()
	l := f.queues[i].Layout
	n := uint32(i)
	f.send(setVringNum, u32s(n, entries))
	f.send(setVringBase, u32s(n, next))
	f.send(setVringAddr, append(u32s(n, 0), u64s(userGap+l.Desc, userGap+l.Device, userGap+l.Driver, 0)...))
	f.send(setVringCall, u64s(uint64(i)), f.calls[i])
	f.send(setVringEnable, u32s(n, 1))
	f.send(setVringKick, u64s(uint64(i)), f.kicks[i])
}

// publish makes the chains that were added to queue i available.
func (f *frontEnd) publish(i int) {
	f.Helper()
	if f.queues[i].Publish() {
		if _, err := unix.Write(f.kicks[i], binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
			f.Fatal(err)
		}
	}
}

// wait waits until queue i has a used chain and an interrupt has come.
func (f *frontEnd) wait(i int) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f.queues[i].Listen(); {
		p := []unix.PollFd{{Fd: int32(f.calls[i]), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, 1000); err != nil && err != unix.EINTR {
			f.Fatal(err)
		}
		var b [8]byte
		_, _ = unix.Read(f.calls[i], b[:]) // EAGAIN: it was not signalled
		if time.Now().After(deadline) {
			f.Fatalf("queue %d: no chain is used, or no interrupt comes", i)
		}
	}
}

func buffer(off, n int) []virtqueuetest.Buffer {
	return []virtqueuetest.Buffer{{Addr: uint64(bufAddr + off), Len: uint32(n)}}
}

// exchange moves one packet of size bytes in each direction.
func (f *frontEnd) exchange(card *backend.Link, size int) {
	f.Helper()
	want := bytes.Repeat([]byte{byte(size)}, size)
	clear(want[:12]) // no offload
	copy(f.guest[bufAddr:], want)
	f.queues[1].Add(buffer(0, size), nil)
	f.publish(1)
	pkts, sizes := []link.Packet{{make([]byte, 2000)}}, make([]int, 1)
	n, err := card.ReadPackets(pkts, sizes)
	if err != nil || n != 1 || !bytes.Equal(pkts[0][0][:sizes[0]], want) {
		f.Fatalf("the back end read %d packets of %v bytes, %v", n, sizes, err)
	}
	f.wait(1)
	f.queues[1].Take()

	f.queues[0].Add(nil, buffer(4096, 2000))
	f.publish(0)
	if err := card.WritePackets([]link.Packet{{want}}); err != nil {
		f.Fatal(err)
	}
	f.wait(0)
	if _, used, _ := f.queues[0].Take(); int(used) != size || !bytes.Equal(f.guest[bufAddr+4096+12:][:size-12], want[12:]) {
		f.Fatalf("the guest received %d bytes", used)
	}
}

func newCard(t *testing.T) *backend.Link {
	t.Helper()
	card, err := backend.New(1)
	if err != nil {
		t.Fatal(err)
	}
	return card
}

func TestPacketsGoThroughSharedMemory(t *testing.T) {
	before := openFiles(t)
	t.Run("session", func(t *testing.T) {
		card := newCard(t)
		f := newFrontEnd(t, card)
		f.negotiate(features)
		f.share()
		f.startQueue(0, 0)
		f.startQueue(1, 0)
		for size := range 200 {
			f.exchange(card, 60+size)
		}

		// The driver gets interrupts through another eventfd from now on.
		f.calls[0] = eventFD(t)
		f.send(setVringCall, u64s(0), f.calls[0])
		f.exchange(card, 100)

		// The back end maps the memory again while the queues run.
		f.share()
		f.exchange(card, 101)

		// Both queues stop, and continue where they were.
		for i := range 2 {
			got := f.ask(0, getVringBase, u32s(uint32(i), 0))
			if want := u32s(uint32(i), 202); !bytes.Equal(got, want) {
				t.Fatalf("GET_VRING_BASE: % x, not % x", got, want)
			}
		}
		f.startQueue(0, 202)
		f.startQueue(1, 202)
		f.exchange(card, 102)

		// The front end hangs up.
		if err := f.conn.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := card.ReadPackets([]link.Packet{{nil}}, make([]int, 1)); err != io.EOF {
			t.Errorf("ReadPackets: %v", err)
		}
	})
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestMemoryChangesUnderTraffic(t *testing.T) {
	card := newCard(t)
	f := newFrontEnd(t, card)
	f.negotiate(features)
	f.share()
	f.startQueue(0, 0)
	f.startQueue(1, 0)
	changed := make(chan error)
	go func() {
		var answer [headerSize + 8]byte
		for range 300 {
			err := send(f.conn, version|flagNeedReply, setMemTable, region(0, memSize, userGap, 0), f.memfd)
			if err == nil {
				_, err = io.ReadFull(f.conn, answer[:])
			}
			if err != nil {
				changed <- err
				return
			}
		}
		close(changed)
	}()
	for n := 0; ; n++ {
		select {
		case err := <-changed:
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d packets each way", n)
			return
		default:
			f.exchange(card, 60+n%1000)
		}
	}
}

func TestWithoutProtocolFeaturesQueuesStartEnabled(t *testing.T) {
	card := newCard(t)
	f := newFrontEnd(t, card)
	f.negotiate(features &^ featureProtocol)
	f.share()
	for i := range 2 {
		f.startQueue(i, 0)
	}
	f.exchange(card, 60)
}

func TestCloseEndsTheWaitForAFrontEnd(t *testing.T) {
	card := newCard(t)
	server, err := Listen(card)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if _, err := card.ReadPackets([]link.Packet{{nil}}, make([]int, 1)); err != io.EOF {
		t.Errorf("ReadPackets: %v", err)
	}
}

func TestWrongMessageEndsTheConnection(t *testing.T) {
	small, _ := sealed(t, 4096)
	unsealed, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unsealed)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	event := eventFD(t)

	for _, test := range []struct {
		name string
		send func(f *frontEnd)
		want string
	}{
		{"another version", func(f *frontEnd) { _ = send(f.conn, 2, getFeatures, nil) }, "has flags 0x2"},
		{"an answer", func(f *frontEnd) { _ = send(f.conn, version|flagReply, getFeatures, nil) }, "has flags 0x5"},
		{"an unknown message", func(f *frontEnd) { f.send(99, nil) }, "message 99 is unknown"},
		{"a message cut off", func(f *frontEnd) {
			_, _ = f.conn.Write(u32s(uint32(setFeatures), version, 8, 0))
			_ = f.conn.CloseWrite()
		}, "unexpected EOF"},
		{"a header cut off", func(f *frontEnd) {
			_, _ = f.conn.Write(u32s(1))
			_ = f.conn.CloseWrite()
		}, "unexpected EOF"},
		{"a payload too long", func(f *frontEnd) { f.send(setFeatures, u64s(0, 0)) }, "SET_FEATURES has 16 bytes"},
		{"a payload of 4 GiB", func(f *frontEnd) { _, _ = f.conn.Write(u32s(uint32(setMemTable), version, 0xffff_ffff)) }, "has 4294967295 bytes"},
		{"descriptors for nothing", func(f *frontEnd) { f.send(setOwner, nil, event) }, "SET_OWNER has 1 descriptors"},
		{"too many descriptors", func(f *frontEnd) {
			fds := make([]int, 100)
			for i := range fds {
				fds[i] = event
			}
			f.send(setMemTable, nil, fds...)
		}, "too many descriptors"},
		{"features not offered", func(f *frontEnd) { f.send(setFeatures, u64s(1<<60)) }, "were not offered"},
		{"protocol features not offered", func(f *frontEnd) { f.send(setProtocolFeatures, u64s(1<<1)) }, "were not offered"},
		{"a queue too many", func(f *frontEnd) { f.send(setVringNum, u32s(2, 64)) }, "queue 2 of 2"},
		{"a queue without entries", func(f *frontEnd) { f.send(setVringNum, u32s(0, 0)) }, "0 entries"},
		{"a queue too large", func(f *frontEnd) { f.send(setVringNum, u32s(0, 2048)) }, "2048 entries"},
		{"a base too large", func(f *frontEnd) { f.send(setVringBase, u32s(0, 65536)) }, "base 65536"},
		{"a state of neither kind", func(f *frontEnd) { f.send(setVringEnable, u32s(0, 2)) }, "state 2"},
		{"a log", func(f *frontEnd) { f.send(setVringAddr, append(u32s(0, 1), u64s(0, 0, 0, 0)...)) }, "flags 0x1"},
		{"a kick without a descriptor, for polling", func(f *frontEnd) { f.send(setVringKick, u64s(vringNoFD)) }, "has no eventfd"},
		{"a kick without its event", func(f *frontEnd) { f.send(setVringKick, u64s(0)) }, "with 0 descriptors"},
		{"an event that is not one", func(f *frontEnd) { f.send(setVringCall, u64s(0), int(null.Fd())) }, "not an eventfd"},
		{"a queue of unknown bits", func(f *frontEnd) { f.send(setVringCall, u64s(1<<9), event) }, "queue 0x200"},
		{"a start before the memory", func(f *frontEnd) { f.send(setVringKick, u64s(0), event) }, "before its memory"},
		{"no table", func(f *frontEnd) { f.send(setMemTable, nil) }, "cut off"},
		{"an empty table", func(f *frontEnd) { f.send(setMemTable, u32s(0, 0)) }, "0 regions"},
		{"a table without descriptors", func(f *frontEnd) { f.send(setMemTable, region(0, 4096, 0, 0)) }, "0 descriptors"},
		{"a table of more than it has", func(f *frontEnd) { f.send(setMemTable, u32s(2, 0), small, small) }, "2 regions in 8 bytes"},
		{"a region beyond its file", func(f *frontEnd) { f.send(setMemTable, region(0, 8192, 0, 0), small) }, "0x2000 bytes from 0x0 of a file of 0x1000"},
		{"a region far beyond its file", func(f *frontEnd) { f.send(setMemTable, region(0, 4096, 0, 1<<63), small) }, "of a file of 0x1000"},
		{"a region of nothing", func(f *frontEnd) { f.send(setMemTable, region(0, 0, 0, 0), small) }, "0x0 bytes"},
		{"a region around the end", func(f *frontEnd) { f.send(setMemTable, region(0, 4096, ^uint64(0)-100, 0), small) }, "at the front end's"},
		{"guest memory around the end", func(f *frontEnd) { f.send(setMemTable, region(^uint64(0)-7, 4096, 0, 0), small) }, "beyond the last address"},
		{"a file that can shrink", func(f *frontEnd) { f.send(setMemTable, region(0, 4096, 0, 0), unsealed) }, "not a memfd that is sealed"},
		{"a device file", func(f *frontEnd) { f.send(setMemTable, region(0, 4096, 0, 0), int(null.Fd())) }, "not a memfd that is sealed"},
		{"an old driver", func(f *frontEnd) {
			f.negotiate(features &^ device.FeatureVersion1)
			f.share()
			f.startQueue(0, 0)
		}, "VIRTIO_F_VERSION_1"},
		{"a queue outside of memory", func(f *frontEnd) {
			f.negotiate(features)
			f.share()
			f.queues[0].Layout.Desc += memSize
			f.startQueue(0, 0)
		}, "is not in the guest's memory"},
		{"a queue that leaves the memory", func(f *frontEnd) {
			f.negotiate(features)
			f.share()
			f.queues[0].Layout.Desc = memSize - 64
			f.startQueue(0, 0)
		}, "lies outside of guest memory"},
		{"a change of a running queue", func(f *frontEnd) {
			f.negotiate(features)
			f.share()
			f.startQueue(0, 0)
			f.send(setVringNum, u32s(0, 64))
		}, "queue 0 runs"},
		{"a change of features while a queue runs", func(f *frontEnd) {
			f.negotiate(features)
			f.share()
			f.startQueue(0, 0)
			f.send(setFeatures, u64s(features&^device.FeatureIndirect))
		}, "while queue 0 runs"},
		{"new memory that lacks a running queue", func(f *frontEnd) {
			f.negotiate(features)
			f.share()
			f.startQueue(0, 0)
			f.send(setMemTable, region(memSize, 4096, 0, 0), small)
		}, "is not in the guest's memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := openFiles(t)
			t.Run("session", func(t *testing.T) {
				card := newCard(t)
				f := newFrontEnd(t, card)
				test.send(f)
				_, err := card.ReadPackets([]link.Packet{{nil}}, make([]int, 1))
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("the link ends with %v, want %q", err, test.want)
				}
				if _, err := io.Copy(io.Discard, f.conn); err != nil && !errors.Is(err, unix.ECONNRESET) {
					t.Error(err)
				}
			})
			if after := openFiles(t); after != before {
				t.Errorf("%d descriptors are open, %d before", after, before)
			}
		})
	}
}
