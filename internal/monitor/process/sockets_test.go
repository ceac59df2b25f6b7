package process

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// sockets is a network whose only target is an address of this host.
type sockets struct{ to netip.AddrPort }

func (sockets) Needs() []instance.Part { return nil }

func (s sockets) Open(l *instance.Launch) (*instance.Plug, error) {
	plug, err := networkFunc(func(ctx context.Context, _ link.Link) error {
		<-ctx.Done()
		return nil
	}).Open(l)
	if err == nil {
		plug.Sockets = &hostinet.Config{
			Target: func(dst netip.AddrPort) (hostinet.Target, error) {
				if dst.Port() != 80 {
					return hostinet.Target{}, unix.ECONNREFUSED
				}
				return hostinet.Target{Addr: s.to}, nil
			},
			Log: func(string, ...any) {},
		}
	}
	return plug, err
}

const passedFD = boot.FDListen // the lowest free number

// dialer returns an image that asks for a connection to a port of 192.0.2.1, and then does
// more with it. RAX has the reply's error.
func dialer(t *testing.T, port byte, more func(p *tinyelf.Program)) *tinyelf.Program {
	t.Helper()
	var p tinyelf.Program
	request := (&boot.SocketRequest{
		ID: 7, Op: boot.SocketOpen, Domain: linux.AF_INET, Type: linux.SOCK_STREAM,
		Peer: []byte{linux.AF_INET, 0, 0, port, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0},
	}).Append(nil)
	const size = 8 // of a reply without a value
	reply := p.Data(make([]byte, size))
	iov := p.Data(words(uint64(reply), size))
	control := p.Data(make([]byte, 24))
	header := p.Data(words(0, 0, uint64(iov), 1, uint64(control), 24, 0))
	p.Syscall(unix.SYS_WRITE, tinyelf.Imm(boot.FDSockets), p.Data(request), tinyelf.Imm(uint64(len(request))))
	p.Until(func() {
		p.Syscall(unix.SYS_SCHED_YIELD)
		p.Syscall(unix.SYS_RECVMSG, tinyelf.Imm(boot.FDSockets), header, tinyelf.Imm(unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC))
		p.Raw(0x48, 0x83, 0xe8, size) // SUB RAX, size
	})
	p.Load(reply + 4) // the error, in the lower half
	more(&p)
	return &p
}

// words returns the bytes of a structure of 64-bit words.
func words(list ...uint64) (b []byte) {
	for _, w := range list {
		for i := range 8 {
			b = append(b, byte(w>>(8*i)))
		}
	}
	return b
}

// runDialer runs a dialer and returns its exit code, and what its peer read.
func runDialer(t *testing.T, p *tinyelf.Program) (code int, received string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		defer close(got)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return
		}
		if b, err := io.ReadAll(c); err == nil {
			got <- string(b)
		}
	}()
	code, _ = run(t, &instance.Spec{Image: imageFile(t, p), Network: sockets{to: l.Addr().(*net.TCPAddr).AddrPort()}})
	l.Close()
	return code, <-got
}

func TestAConnectionOutlivesTheImage(t *testing.T) {
	const text = "sent right before the end"
	code, got := runDialer(t, dialer(t, 80, func(p *tinyelf.Program) {
		p.Syscall(unix.SYS_SENDTO, tinyelf.Imm(passedFD), p.CString(text), tinyelf.Imm(uint64(len(text))), tinyelf.Imm(unix.MSG_NOSIGNAL), tinyelf.Imm(0), tinyelf.Imm(0))
		p.Exit(3)
	}))
	if code != 3 || got != text {
		t.Errorf("ended with %d, and the peer read %q, want %q", code, got, text)
	}
}

func TestAPassedDescriptorCannotBeExecuted(t *testing.T) {
	code, got := runDialer(t, dialer(t, 80, func(p *tinyelf.Program) {
		p.Syscall(unix.SYS_EXECVEAT, tinyelf.Imm(passedFD), p.CString(""), tinyelf.Imm(0), tinyelf.Imm(0), tinyelf.Imm(unix.AT_EMPTY_PATH))
		p.Exit(3)
	}))
	if code != boot.ExitForbidden || got != "" {
		t.Errorf("ended with %d, and the peer read %q", code, got)
	}
}

func TestTheProgramGetsTheErrorOfARefusedTarget(t *testing.T) {
	code, _ := runDialer(t, dialer(t, 81, func(p *tinyelf.Program) {
		p.Raw(0x48, 0x89, 0xc7)               // MOV RDI, RAX
		p.Raw(0xb8, 231, 0, 0, 0, 0x0f, 0x05) // exit_group
	}))
	if code != int(unix.ECONNREFUSED) {
		t.Errorf("ended with %d, want %d", code, unix.ECONNREFUSED)
	}
}
