package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// greeter is a link.Network whose guest says hello.
type greeter struct{ link.Network }

func (greeter) Accept(l net.Listener, port uint16) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "hello from %d", port)
		c.Close()
	}
}

func TestClientsAreRefusedUnlessTheProgramListens(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ls, err := monitor.Bind([]monitor.Port{{Host: netip.MustParseAddrPort(addr), Guest: 80}})
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.CloseListeners(ls)
	p := guest.Published{Network: greeter{}}
	defer p.Close()
	for range 3 {
		if c, err := net.Dial("tcp", addr); !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("%v, %v", c, err)
		}
		for _, message := range []string{"listen 81", "listen 80", "listen 80"} {
			if err := monitor.Obey(message, ls, p.Listen, t.Logf); err != nil {
				t.Fatal(err)
			}
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(c); string(b) != "hello from 80" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		c.Close()
		for range 2 {
			if err := monitor.Obey("unlisten 80", ls, p.Listen, t.Logf); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAnImageIsToldThatItsPortIsOpen(t *testing.T) {
	ls, err := monitor.Bind([]monitor.Port{{Host: netip.MustParseAddrPort("127.0.0.1:0"), Guest: 80}})
	if err != nil {
		t.Fatal(err)
	}
	defer monitor.CloseListeners(ls)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c := guest.NewControl()
	c.Port = w
	p := guest.Published{Network: greeter{}}
	defer p.Close()
	for _, line := range []string{"listen 80", "what is this", "unlisten 80"} {
		if err := p.Obey(line, ls, &c, t.Logf); err != nil {
			t.Fatal(err)
		}
	}
	go c.Serve(t.Context())
	got := make([]byte, 22)
	if _, err := io.ReadFull(r, got); string(got) != "listen 80\nunlisten 80\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLinesOfAnImageThatIsNotTrusted(t *testing.T) {
	var heard []string
	guest.Lines(strings.NewReader("one\n\n"+strings.Repeat("x", 10*guest.MaxLine)+"\ntwo\nno end"), func(l string) { heard = append(heard, l) })
	if got := strings.Join(heard, "|"); got != "one||two" {
		t.Errorf("%q", got)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("exit 7\nlisten 80\n\ntime?\nno end"))
	f.Add([]byte(strings.Repeat("x", guest.MaxLine) + "\nexit 1\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		var want []string
		for line := range strings.Lines(string(said)) {
			if l, whole := strings.CutSuffix(line, "\n"); whole && len(line) <= guest.MaxLine {
				want = append(want, l)
			}
		}
		var heard []string
		guest.Lines(bytes.NewReader(said), func(l string) { heard = append(heard, l) })
		if !slices.Equal(heard, want) {
			t.Errorf("%q, want %q", heard, want)
		}
	})
}

func TestControlAnswersForTheTimeAndNeverWaits(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	image := os.NewFile(uintptr(pair[0]), "image")
	c := guest.NewControl()
	c.Port = os.NewFile(uintptr(pair[1]), "port")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go c.Serve(ctx)
	var others []string
	heard := make(chan struct{})
	go func() {
		c.Hear(func(l string) { others = append(others, l) })
		close(heard)
	}()
	c.Say(boot.Signal(15).String())
	io.WriteString(image, "listen 80\n"+boot.TimeRequest+"\n")
	buf := make([]byte, 1000)
	var said string
	for strings.Count(said, "\n") < 2 {
		n, err := image.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		said += string(buf[:n])
	}
	first, rest, _ := strings.Cut(said, "\n")
	cmd, err := boot.ParseCommand(strings.TrimSuffix(rest, "\n"))
	now, ok := cmd.(boot.Time)
	if since := time.Since(time.Unix(0, int64(now))); first != "signal 15" || !ok || err != nil || since < 0 || since > time.Minute {
		t.Errorf("%q, %v", said, err)
	}
	// An image that asks and never listens.
	io.WriteString(image, strings.Repeat(boot.TimeRequest+"\n", 100000))
	image.Close()
	<-heard
	if len(others) != 1 || others[0] != "listen 80" {
		t.Errorf("%q", others)
	}
}
