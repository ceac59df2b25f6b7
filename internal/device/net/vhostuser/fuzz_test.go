package vhostuser

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

// script is a sequence of messages for FuzzMessages. Each has its request, its
// flags, the kinds of its descriptors and the size of its payload, one byte each,
// and then the payload.
type script []byte

func (s script) add(r request, flags, fds byte, payload []byte) script {
	return append(append(s, byte(r), flags, fds, byte(len(payload))), payload...)
}

// FuzzMessages sends arbitrary messages with descriptors of known kinds. The
// session must neither panic nor hang, and must end with the connection.
func FuzzMessages(f *testing.F) {
	const memory, event, other = 1, 2, 3 // kinds of descriptors, two bits each
	memfd, guest := sealed(f, memSize)
	kick := eventFD(f)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		f.Fatal(err)
	}
	defer null.Close()
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: guest}})
	if err != nil {
		f.Fatal(err)
	}
	l := virtqueuetest.New(mem, 0, entries, true).Layout
	session := script{}.add(setOwner, version, 0, nil).
		add(getFeatures, version, 0, nil).
		add(setFeatures, version, 0, u64s(features)).
		add(setProtocolFeatures, version, 0, u64s(protocolReplyAck)).
		add(getQueueNum, version, 0, nil).
		add(setMemTable, version|flagNeedReply, memory, region(0, memSize, userGap, 0)).
		add(setVringNum, version, 0, u32s(1, entries)).
		add(setVringBase, version, 0, u32s(1, 0)).
		add(setVringAddr, version, 0, append(u32s(1, 0), u64s(userGap+l.Desc, userGap+l.Device, userGap+l.Driver, 0)...)).
		add(setVringCall, version, event, u64s(1)).
		add(setVringErr, version, event, u64s(1)).
		add(setVringEnable, version, 0, u32s(1, 1)).
		add(setVringKick, version, event, u64s(1)).
		add(setMemTable, version|flagNeedReply, memory, region(0, memSize, userGap, 0))
	f.Add([]byte(session.add(getVringBase, version, 0, u32s(1, 0))))
	f.Add([]byte(session.add(setVringKick, version, event, u64s(1))))
	f.Add([]byte(session.add(setVringCall, version, 0, u64s(1|vringNoFD))))
	f.Add([]byte(session.add(setMemTable, version, memory|other<<2, append(region(0, 4096, 0, 0), u64s(4096, 4096, 4096, 4096)...))))
	f.Fuzz(func(t *testing.T, messages []byte) {
		card, err := backend.New(1)
		if err != nil {
			t.Fatal(err)
		}
		front, back := socketPair(t)
		ended := make(chan struct{}, 3)
		go func() {
			card.End(newSession(back, card).serve())
			ended <- struct{}{}
		}()
		go func() {
			_, _ = io.Copy(io.Discard, front) // the connection may be reset
			ended <- struct{}{}
		}()
		go func() {
			pkts, sizes := []link.Packet{{make([]byte, 2000)}}, make([]int, 1)
			for {
				if _, err := card.ReadPackets(pkts, sizes); err != nil {
					break
				}
			}
			ended <- struct{}{}
		}()
		for len(messages) >= 4 {
			r, flags, kinds, n := messages[0], messages[1], messages[2], min(int(messages[3]), len(messages)-4)
			payload := messages[4 : 4+n]
			messages = messages[4+n:]
			var fds []int
			for ; kinds > 0; kinds >>= 2 {
				switch kinds & 3 {
				case memory:
					fds = append(fds, memfd)
				case event:
					fds = append(fds, kick)
				case other:
					fds = append(fds, int(null.Fd()))
				}
			}
			if send(front, uint32(flags), request(r), payload, fds...) != nil {
				break // the session has ended
			}
		}
		_ = front.CloseWrite() // the session may have ended
		for range cap(ended) {
			<-ended
		}
		_ = front.Close()
	})
}

func socketPair(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, to := range []**net.UnixConn{&a, &b} {
		file := os.NewFile(uintptr(fds[i]), "socket")
		c, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close() // c is a copy
		*to = c.(*net.UnixConn)
	}
	return a, b
}
