package inet

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// gatewaySocket is the device of a confined process: the socket to the gateway,
// with one frame per message.
type gatewaySocket struct {
	host *platform.Host
	out  [boot.MaxFrame]byte
}

// Queues implements device.
func (s *gatewaySocket) Queues() int { return 1 }

// Up implements device.
func (s *gatewaySocket) Up() bool { return true }

// Send implements device. A host write takes one buffer, so Send copies the
// frame together.
func (s *gatewaySocket) Send(_ int, h boot.VnetHeader, frame [][]byte) linux.Errno {
	h.Put(s.out[:])
	n := boot.VirtioNetHeaderSize
	for _, p := range frame {
		if len(p) > len(s.out)-n {
			return linux.EMSGSIZE
		}
		n += copy(s.out[n:], p)
	}
	_, errno := s.host.Write(s.out[:n])
	return errno
}

// ShouldNotify implements device. A sent frame needs no notification.
func (s *gatewaySocket) ShouldNotify(int) bool { return false }

// Notify implements device.
func (s *gatewaySocket) Notify(int) {}

// WaitSend implements device.
func (s *gatewaySocket) WaitSend(int) linux.Errno { return s.host.Wait(platform.Writable) }

// Receive implements device. It reads all available frames before it waits.
func (s *gatewaySocket) Receive(_ int, deliver func(h boot.VnetHeader, frame [][]byte)) {
	buf := make([]byte, boot.MaxFrame)
	frame := make([][]byte, 1)
	for {
		n, errno := s.host.Read(buf)
		switch {
		case errno == linux.EAGAIN:
			if s.host.Wait(platform.Readable) != 0 {
				return
			}
		case errno != 0 || n == 0:
			return // the gateway has closed the socket
		case n > boot.VirtioNetHeaderSize:
			frame[0] = buf[boot.VirtioNetHeaderSize:n]
			deliver(boot.ParseVnetHeader(buf), frame)
		}
	}
}

// Close implements device.
func (s *gatewaySocket) Close() { s.host.Close() }
