package inet

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// gatewaySocket is the device of a confined process: the socket to the gateway,
// a message a frame.
type gatewaySocket struct {
	host *platform.Host
	out  [boot.MaxFrame]byte
}

// Queues implements device.
func (s *gatewaySocket) Queues() int { return 1 }

// Up implements device.
func (s *gatewaySocket) Up() bool { return true }

// Send implements device. The host takes one buffer, so that the frame is
// copied together here.
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

// Due implements device: what was sent is on its way.
func (s *gatewaySocket) Due(int) bool { return false }

// Tell implements device.
func (s *gatewaySocket) Tell(int) {}

// WaitSend implements device.
func (s *gatewaySocket) WaitSend(int) linux.Errno { return s.host.Wait(platform.Writable) }

// Receive implements device. It takes all there are before it waits.
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
			return // the gateway is gone
		case n > boot.VirtioNetHeaderSize:
			frame[0] = buf[boot.VirtioNetHeaderSize:n]
			deliver(boot.ParseVnetHeader(buf), frame)
		}
	}
}

// Close implements device.
func (s *gatewaySocket) Close() { s.host.Close() }
