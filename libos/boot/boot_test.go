package boot

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseReadsWhatStringWrites(t *testing.T) {
	for _, c := range []Config{
		{CPUs: 1},
		{PID: 77, CPUs: MaxCPUs, Memory: 1 << 40, Hostname: "a b%=\n", Trace: true, Dir: "/a b/c%", TTY: [3]bool{true, false, true}},
		{CPUs: 2, Publish: []uint16{80, 65535}, Sockets: SocketsOut, Net: &Net{MAC: "02:00:00:00:00:01", Addr4: "10.0.2.15/24",
			Gateway4: "10.0.2.2", Addr6: "fd00::15/64", Gateway6: "fd00::2", DNS: []string{"10.0.2.3", "fd00::3"}, MTU: 65520}},
		{Args: []string{"web", "", "-a b", "ä=%\n"}, Env: []string{"A=b=c", "EMPTY=", "noequals", ""},
			Mounts:  []Mount{{"fs0", "/srv/some data", true}, {"fs1", "/", false}},
			Devices: []string{"virtio_mmio.device=512@0xfeb00e00:12", "virtio_mmio.device=4K@0xd0000000:5", "pci=off"}},
	} {
		got, err := Parse(c.String())
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%q\n got %+v (%v)\nwant %+v", c.String(), got, err, c)
		}
	}
}

func TestAddressesNeedNoDeviceAddress(t *testing.T) {
	for line, want := range map[string]*Net{
		"ip4=10.0.2.15/24": {Addr4: "10.0.2.15/24"},
		"dns=1.1.1.1":      {DNS: []string{"1.1.1.1"}},
		"mtu=1400":         {MTU: 1400},
		"mtu=0":            nil,
		"cpus=1":           nil,
	} {
		if c, err := Parse(line); err != nil || !reflect.DeepEqual(c.Net, want) {
			t.Errorf("%q: %+v, %v, want %+v", line, c.Net, err, want)
		}
	}
}

func TestParseRefusesWhatIsNotABootLine(t *testing.T) {
	for _, line := range []string{"cpus=0", "cpus=65", "cpus=1 mem=-1", "cpus=1 what=1", "cpus=1 host=%4", "cpus=1 host=%zz", "cpus", "cpus=1 publish=70000",
		"quiet", "root=/dev/vda", "arg=a%00b", "env=%00", "mount=", "mount=fs0", "mount=:/a", "mount=fs0:a", "mount=fs0:/a:rw", "mount=fs0:/a:ro:ro", "dir=a",
		"\x1f\x8b\x08\x00", "070701000002D1", "env=a\x00b", "arg\u00a0=a",
		"arg=" + strings.Repeat("x", MaxLine), strings.Repeat("\x00", MaxLine), strings.Repeat("x", MaxLine-2) + "=",
		"cpus=" + strings.Repeat("1", 100_000), "mount=" + strings.Repeat("x", 100_000)} {
		c, err := Parse(line)
		if err == nil {
			t.Errorf("%.100q: no error, %+v", line, c)
		} else if len(err.Error()) > 300 {
			t.Errorf("%.100q: an error of %d bytes", line, len(err.Error()))
		}
	}
}

func TestALineMayBeAFileOfLines(t *testing.T) {
	c, err := Parse("arg=web\narg=a\u00a0b\r\n\tenv=A=b\v\fcpus=2\n")
	if want := (Config{PID: 1, CPUs: 2, Args: []string{"web", "a\u00a0b"}, Env: []string{"A=b"}}); err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAnEmptyLineIsThatOfAMachineStartedByHand(t *testing.T) {
	for _, line := range []string{"", " \n"} {
		if c, err := Parse(line); err != nil || !reflect.DeepEqual(c, Config{PID: 1}) {
			t.Errorf("%q: %+v, %v", line, c, err)
		}
	}
}

func TestListenMessage(t *testing.T) {
	for _, l := range []Listen{{80, true}, {65535, false}} {
		if got, err := ParseListen(l.String()); err != nil || got != l {
			t.Errorf("%q: got %v, %v", l.String(), got, err)
		}
	}
	for _, s := range []string{"", "listen", "listen 70000", "listen -1", "stop 80", "listen 80 81"} {
		if l, err := ParseListen(s); err == nil {
			t.Errorf("%q: no error, %v", s, l)
		}
	}
}

func TestCommands(t *testing.T) {
	for _, c := range []interface{ String() string }{Signal(15), Signal(64), Time(0), Time(1 << 62), Listen{80, true}, Listen{1, false}, NetworkEnd{}} {
		if got, err := ParseCommand(c.String()); err != nil || got != c {
			t.Errorf("%q: got %v, %v", c.String(), got, err)
		}
	}
	for _, s := range []string{"", "signal", "signal 0", "signal 65", "signal -1", "time", "time -1", "time 99999999999999999999", "time?", "network", "network end "} {
		if c, err := ParseCommand(s); err == nil {
			t.Errorf("%q: no error, %v", s, c)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("pid=1 cpus=2 mem=5 host=a mac=x ip4=1 publish=1,2 tty=01 trace=1")
	f.Add("arg=web arg= env=A=b mount=fs0:/srv:ro virtio_mmio.device=512@0xfeb00e00:12 pci=off a.b")
	f.Fuzz(func(t *testing.T, line string) {
		c, err := Parse(line)
		if err != nil || len(c.String()) > MaxLine {
			return
		}
		again, err := Parse(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q: %q, %v, %q", line, c.String(), err, again.String())
		}
	})
}

func TestExitLine(t *testing.T) {
	for _, e := range []MachineExit{0, 255} {
		if got, err := ParseMachineExit(e.String()); err != nil || got != e {
			t.Errorf("%q: got %v, %v", e.String(), got, err)
		}
	}
	for _, s := range []string{"", "exit", "exit ", "exit 256", "exit -1", "exit 1 ", "7"} {
		if e, err := ParseMachineExit(s); err == nil {
			t.Errorf("%q: no error, %v", s, e)
		}
	}
}
