package vhostuser

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// liar returns a connection to a back end that calls answer for each message.
func liar(t testing.TB, answer func(m *message, conn *net.UnixConn) error) *os.File {
	t.Helper()
	theirs, ours, err := connectedPair()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r := reader{conn: ours}
		for {
			m, err := r.next()
			if err != nil {
				return
			}
			err = answer(&m, ours)
			m.close()
			if err != nil {
				_ = ours.Close()
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = ours.Close() // it may have hung up
		<-ended
	})
	return theirs
}

// honest answers as a back end of two pairs does.
func honest(m *message, conn *net.UnixConn) error {
	number := uint64(0)
	switch m.request {
	case getFeatures:
		number = features
	case getProtocolFeatures:
		number = protocolMQ | protocolReplyAck
	case getQueueNum:
		number = 2
	case getVringBase:
		return reply(conn, m.request, m.payload)
	default:
		if m.flags&flagNeedReply == 0 {
			return nil
		}
	}
	return reply(conn, m.request, le.AppendUint64(nil, number))
}

// use starts and stops a queue, and returns the first error.
func use(c *Client, kick int) error {
	if err := c.SetFeatures(device.FeatureVersion1); err != nil {
		return err
	}
	if err := c.StartQueue(1, virtqueue.Layout{Size: entries}, kick, kick, true); err != nil {
		return err
	}
	if err := c.Enable(1, false); err != nil {
		return err
	}
	return c.StopQueue(1)
}

func TestClientChecksReplies(t *testing.T) {
	kick := eventFD(t)
	number := func(n uint64) []byte { return le.AppendUint64(nil, n) }
	raw := func(request, flags, size uint32, payload ...byte) []byte {
		return append(u32s(request, flags, size), payload...)
	}
	for _, c := range []struct {
		name string
		to   request
		send []byte // in place of the reply; nil: it hangs up
		want string
	}{
		{"nothing", 0, nil, ""},
		{"hangs up at the first question", getFeatures, nil, "hung up"},
		{"hangs up at the memory", setMemTable, nil, "hung up"},
		{"hangs up in an answer", getQueueNum, raw(17, 5, 8, 1), "hung up"},
		{"no protocol features", getFeatures, raw(1, 5, 8, number(device.FeatureVersion1)...), "protocol features"},
		{"no acknowledgements", getProtocolFeatures, raw(15, 5, 8, number(protocolMQ)...), "protocol features"},
		{"another request's answer", getFeatures, raw(2, 5, 8, number(0)...), "GET_FEATURES is answered by SET_FEATURES"},
		{"an unknown request's answer", getFeatures, raw(99, 5, 8, number(0)...), "message 99"},
		{"a question", getFeatures, raw(1, 1, 8, number(0)...), "flags 0x1"},
		{"another version", getFeatures, raw(1, 6, 8, number(0)...), "flags 0x6"},
		{"a short answer", getFeatures, raw(1, 5, 4, number(0)...), "4 bytes"},
		{"an endless answer", getFeatures, raw(1, 5, 1<<31, number(0)...), "bytes"},
		{"memory is refused", setMemTable, raw(5, 5, 8, number(1)...), "SET_MEM_TABLE: the back end refuses it (1)"},
		{"features are refused", setFeatures, raw(2, 5, 8, number(7)...), "SET_FEATURES: the back end refuses it"},
		{"a size is refused", setVringNum, raw(8, 5, 8, number(1)...), "SET_VRING_NUM: the back end refuses it"},
		{"a queue is refused", setVringKick, raw(12, 5, 8, number(1)...), "SET_VRING_KICK: the back end refuses it"},
		{"enabling is refused", setVringEnable, raw(18, 5, 8, number(1)...), "SET_VRING_ENABLE: the back end refuses it"},
		{"another queue's state", getVringBase, raw(11, 5, 8, u32s(0, 0)...), "of queue 1 is answered for queue 0"},
		{"two answers", getFeatures, append(raw(1, 5, 8, number(features)...), raw(1, 5, 8, number(features)...)...), "not asked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			memfd, _ := sealed(t, memSize)
			memory := os.NewFile(uintptr(dup(t, memfd)), "memory")
			defer memory.Close()
			conn := liar(t, func(m *message, conn *net.UnixConn) error {
				if m.request != c.to {
					return honest(m, conn)
				}
				if _, err := conn.Write(c.send); err != nil || len(c.send) < answerSize {
					return io.EOF
				}
				return nil
			})
			client, err := NewClient(conn, []Region{{Addr: 0, Size: memSize, File: memory}})
			if err == nil {
				err = use(client, kick)
			}
			if c.want == "" {
				if err != nil || client.Pairs() != 2 || client.Features() != features&^featureProtocol {
					t.Errorf("%d pairs, features %#x, %v", client.Pairs(), client.Features(), err)
				}
				client.Close()
				return
			}
			if err == nil && c.name == "two answers" { // the second one may come late
				<-client.Gone()
				err = client.Err()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if client == nil {
				return
			}
			<-client.Gone()
			if again := client.Enable(0, true); again == nil || again.Error() != client.Err().Error() {
				t.Errorf("Err is %v, and Enable then returns %v", client.Err(), again)
			}
		})
	}
}

func dup(t testing.TB, fd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestClientDoesNotWaitForever(t *testing.T) {
	conn := liar(t, func(m *message, conn *net.UnixConn) error {
		if m.request == setFeatures {
			return nil
		}
		return honest(m, conn)
	})
	c, err := newClient(conn, nil, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetFeatures(0); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("SET_FEATURES: %v", err)
	}
	<-c.Gone()
}

func TestCloseEndsAnExchange(t *testing.T) {
	asked := make(chan struct{})
	conn := liar(t, func(m *message, conn *net.UnixConn) error {
		if m.request == setFeatures {
			close(asked)
			return nil
		}
		return honest(m, conn)
	})
	c, err := NewClient(conn, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-asked
		c.Close()
	}()
	if err := c.SetFeatures(0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("SET_FEATURES: %v", err)
	}
}

// FuzzAnswers answers each message with the next bytes of the script, or honestly
// if the first of them is even. The client must neither panic nor hang.
func FuzzAnswers(f *testing.F) {
	kick := eventFD(f)
	memfd, _ := sealed(f, memSize)
	memory := os.NewFile(uintptr(dup(f, memfd)), "memory")
	defer memory.Close()
	f.Add([]byte(nil))
	f.Add([]byte{1, 20, 1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 1, 3, 1, 2, 3})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 20, 11, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		conn := liar(t, func(m *message, conn *net.UnixConn) error {
			lie := len(script) > 1 && script[0]&1 != 0
			if !lie {
				script = script[min(1, len(script)):]
				return honest(m, conn)
			}
			n := min(int(script[1]), len(script)-2)
			_, err := conn.Write(script[2 : 2+n])
			script = script[2+n:]
			if len(script) == 0 {
				err = io.EOF // hang up at the end of the script
			}
			return err
		})
		c, err := newClient(conn, []Region{{Size: memSize, File: memory}}, 50*time.Millisecond)
		if err != nil {
			return
		}
		if use(c, kick) == nil {
			c.Close()
		}
		<-c.Gone()
	})
}
