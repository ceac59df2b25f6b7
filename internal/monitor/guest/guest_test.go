package guest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

func TestLinesOfAnImageThatIsNotTrusted(t *testing.T) {
	var heard []string
	guest.ReadLines(strings.NewReader("one\n\n"+strings.Repeat("x", 10*boot.MaxMessage)+"\ntwo\nno end"), func(l string) { heard = append(heard, l) })
	if got := strings.Join(heard, "|"); got != "one||two" {
		t.Errorf("%q", got)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("exit 7\nlisten 80\n\ntime?\nno end"))
	f.Add([]byte(strings.Repeat("x", boot.MaxMessage) + "\nexit 1\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		var want []string
		for line := range strings.Lines(string(said)) {
			if l, whole := strings.CutSuffix(line, "\n"); whole && len(l) <= boot.MaxMessage {
				want = append(want, l)
			}
		}
		var heard []string
		guest.ReadLines(bytes.NewReader(said), func(l string) { heard = append(heard, l) })
		if !slices.Equal(heard, want) {
			t.Errorf("%q, want %q", heard, want)
		}
	})
}

func TestTooLittleMemorySaysHowMuchIsEnough(t *testing.T) {
	if err := guest.CheckMemory(4<<20, 2<<20); err != nil {
		t.Error(err)
	}
	err := guest.CheckMemory(3<<20, 2<<20-1)
	var e *instance.Error
	if !errors.As(err, &e) || e.Part != instance.Memory || !strings.Contains(err.Error(), "3M is too little for this image: give at least 4M") {
		t.Error(err)
	}
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
		c.Receive(func(l string) { others = append(others, l) })
		close(heard)
	}()
	c.Send(boot.Signal(15).String())
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
	// The image sends requests and never reads the answers.
	io.WriteString(image, strings.Repeat(boot.TimeRequest+"\n", 100000))
	image.Close()
	<-heard
	if len(others) != 1 || others[0] != "listen 80" {
		t.Errorf("%q", others)
	}
}
