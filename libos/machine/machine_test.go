package machine

import (
	"encoding/binary"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/memfs"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/console/consoletest"
	"github.com/pith-os/pith/libos/virtio/virtiotest"

	vconsole "github.com/pith-os/pith/libos/virtio/console"
)

func init() {
	vfs.AddMount("rootfs", "/", "rw", func() vfs.Inode { return memfs.New(0).Root() })
}

// warnings returns the channel that receives the lines of warn.
func warnings(t *testing.T) <-chan string {
	lines := make(chan string, 16)
	old := warn
	warn = func(line string) { lines <- line }
	t.Cleanup(func() { warn = old })
	return lines
}

func receive[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return v
}

func TestStandardDescriptorsGoToTheirPorts(t *testing.T) {
	const out, err = "to standard output", "to standard error"
	for name, c := range map[string]struct {
		features uint64
		ports    []consoletest.Port
		in       int64             // port of standard input; -1: none
		want     map[uint32]string // what is written to each port
	}{
		"a console alone": {0, []consoletest.Port{{ID: 0}}, 0, map[uint32]string{0: out + err}},
		"a port for each": {consoletest.Multiport,
			[]consoletest.Port{{ID: 1, Name: boot.PortStdin}, {ID: 2, Name: boot.PortStdout}, {ID: 3, Name: boot.PortStderr}},
			1, map[uint32]string{2: out, 3: err}},
		"error where output goes": {consoletest.Multiport,
			[]consoletest.Port{{ID: 1, Name: boot.PortStdin}, {ID: 2, Name: boot.PortStdout}}, 1, map[uint32]string{2: out + err}},
		"a console and a port for errors": {consoletest.Multiport,
			[]consoletest.Port{{ID: 0}, {ID: 1, Name: boot.PortStderr}}, 0, map[uint32]string{0: out, 1: err}},
		"errors alone": {consoletest.Multiport, []consoletest.Port{{ID: 1, Name: boot.PortStderr}}, -1, map[uint32]string{1: out + err}},
	} {
		t.Run(name, func(t *testing.T) {
			d := consoletest.New(t, c.features, 5, c.ports...)
			con, errno := vconsole.Open(d)
			if errno == 0 {
				errno = con.Start(portTimeout)
			}
			if errno != 0 {
				t.Fatal(errno.Name())
			}
			s := standardPorts(con)
			s.write(1, []byte(out))
			s.write(2, []byte(err))
			for id, want := range c.want {
				if got := d.Text(id); got != want {
					t.Errorf("port %d: %q, want %q", id, got, want)
				}
			}
			p := make([]byte, 10)
			if c.in < 0 {
				if n, errno := s.read(p); n != 0 || errno != 0 {
					t.Errorf("read without a port: %d, %s", n, errno.Name())
				}
				return
			}
			go d.Type(uint32(c.in), "typed")
			if n, errno := s.read(p); errno != 0 || string(p[:n]) != "typed" {
				t.Errorf("read %q, %s", p[:n], errno.Name())
			}
		})
	}
}

// TestControlMessagesAreApplied plays the monitor on the control port.
func TestControlMessagesAreApplied(t *testing.T) {
	lines := warnings(t)
	times := make(chan int64, 1)
	setWalltime = func(ns int64) { times <- ns }
	defer func() { setWalltime = platform.SetWalltime }()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	defer signal.Stop(signals)

	asked := make(chan string, 4)
	d := consoletest.New(t, consoletest.Multiport, 2, consoletest.Port{ID: 0},
		consoletest.Port{ID: 1, Name: boot.PortControl, OnWrite: func(p []byte) { asked <- string(p) }})
	c := startConsole([]virtio.Transport{d})
	if c == nil {
		t.Fatal("no control channel")
	}
	if got := receive(t, asked); got != "time?\n" {
		t.Fatalf("asked %q", got)
	}
	go d.Type(1, boot.Time(1234567890123456789).String()+"\nsig")
	c.awaitTime()
	if got := receive(t, times); got != 1234567890123456789 {
		t.Errorf("time %d", got)
	}
	d.Type(1, "nal 10\nwhat is this\n")
	receive(t, signals)
	if got := receive(t, lines); !strings.Contains(got, "what is this") {
		t.Errorf("warned %q", got)
	}
	var open atomic.Bool
	go func() {
		if got := receive(t, asked); got != "listen 80\n" {
			t.Errorf("sent %q", got)
		}
		d.Type(1, "listen 8\nunlisten 80\nlast\n") // answers without a request
		if got := receive(t, lines); !strings.Contains(got, "last") || c.current.Load() == nil {
			t.Errorf("warned %q; took the answer to another request: %v", got, c.current.Load() == nil)
		}
		open.Store(true)
		d.Type(1, "listen 80\n")
	}()
	if errno := platform.Control("listen 80"); errno != 0 || !open.Load() {
		t.Errorf("%s, before the monitor's answer: %v", errno.Name(), !open.Load())
	}
	d.Type(1, strings.Repeat("x", boot.MaxMessage+1))
	if got := receive(t, lines); !strings.Contains(got, "no end") {
		t.Errorf("warned %q", got)
	}
}

func TestAMonitorThatDoesNotAnswerDelaysTheProgramNotForLong(t *testing.T) {
	d := consoletest.New(t, consoletest.Multiport, 2, consoletest.Port{ID: 0}, consoletest.Port{ID: 1, Name: boot.PortControl})
	c := startConsole([]virtio.Transport{d})
	start := time.Now()
	c.awaitTime()
	if d := time.Since(start); d < timeTimeout || d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
	start = time.Now()
	if errno := platform.Control("listen 80"); errno != 0 {
		t.Error(errno.Name())
	}
	if d := time.Since(start); d < answerTimeout || d > 10*time.Second {
		t.Errorf("listening took %v", d)
	}
}

func TestWithoutAConsoleOrAControlPortThereIsNoControl(t *testing.T) {
	lines := warnings(t)
	old := consoletest.New(t, 0, 1, consoletest.Port{ID: 0})
	old.Without(virtio.FeatureVersion1)
	for _, devices := range [][]virtio.Transport{
		nil,
		{consoletest.New(t, consoletest.Multiport, 1, consoletest.Port{ID: 0})},
		{old},
	} {
		if startConsole(devices) != nil {
			t.Error("a control channel")
		}
	}
	if got := receive(t, lines); !strings.Contains(got, linux.ENODEV.Name()) {
		t.Errorf("warned %q", got)
	}
}

func TestADiskStartsWhenItIsOpened(t *testing.T) {
	good := virtiotest.New(virtio.IDBlock, 0, binary.LittleEndian.AppendUint64(nil, 8), 8)
	good.Queue(0).Serve(func(c *virtiotest.Chain) int {
		room := 0
		for _, b := range c.In {
			room += len(b)
		}
		return c.Fill(make([]byte, room))
	})
	addDisks([]virtio.Transport{good})
	if good.Status() != 0 {
		t.Error("started before it was opened")
	}
	open := func(path string) (file.File, linux.Errno) { return vfs.Open(vfs.Root(), path, linux.O_RDWR, 0) }
	f, errno := open("/dev/vda")
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	var st linux.Stat
	if f.Stat(&st); st.Mode != linux.S_IFBLK|0o660 || st.Rdev != linux.Makedev(diskMajor, 0) {
		t.Errorf("mode %o, number %#x", st.Mode, st.Rdev)
	}
	if n, errno := f.Read(make([]byte, 1<<20)); n != 4096 || errno != 0 {
		t.Errorf("read %d, %s", n, errno.Name())
	}
	if again, errno := open("/dev/vda"); errno != 0 {
		t.Error(errno.Name())
	} else {
		again.Release()
	}
	f.Release()
}

func TestADiskThatDoesNotStartIsNamedOnce(t *testing.T) {
	lines := warnings(t)
	d := &disk{t: virtiotest.New(virtio.IDBlock, 0, nil).Without(virtio.FeatureVersion1)}
	for range 2 {
		if _, errno := d.open(nil, linux.O_RDONLY); errno != linux.ENODEV {
			t.Errorf("open: %s", errno.Name())
		}
	}
	if got := receive(t, lines); !strings.Contains(got, linux.ENODEV.Name()) || len(lines) > 0 {
		t.Errorf("warned %q", got)
	}
}

func TestDisksAreNamedAsOnLinux(t *testing.T) {
	for i, want := range map[int]string{0: "a", 25: "z", 26: "aa", 27: "ab", 701: "zz", 702: "aaa"} {
		if got := diskName(i); got != want {
			t.Errorf("disk %d: %s, want %s", i, got, want)
		}
	}
}

func TestADeviceWithoutADriverIsNamed(t *testing.T) {
	lines := warnings(t)
	reportUnknown([]virtio.Transport{virtiotest.New(virtio.IDNet, 0, nil), virtiotest.New(16, 0, nil)})
	if got := receive(t, lines); got != "device test (virtio 16) has no driver here, and is not used" || len(lines) > 0 {
		t.Errorf("warned %q", got)
	}
}
