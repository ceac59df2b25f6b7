package inet

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

func TestSocketTablesShowWhatIsOpen(t *testing.T) {
	for _, c := range []struct {
		typ    int
		listen bool
		addr   []byte
		table  func() []byte
		want   string // %04X stands for the port
	}{
		{linux.SOCK_STREAM, true, inet4(127, 0, 0, 1, 0), func() []byte { return socketTable(tcpHead4, linux.AF_INET, linux.SOCK_STREAM, 0) }, "0100007F:%04X 00000000:0000 0A"},
		{linux.SOCK_STREAM, true, inet6("::1", 0), func() []byte { return socketTable(tcpHead6, linux.AF_INET6, linux.SOCK_STREAM, 0) }, "00000000000000000000000001000000:%04X 00000000000000000000000000000000:0000 0A"},
		{linux.SOCK_DGRAM, false, inet4(127, 0, 0, 1, 0), func() []byte { return socketTable(udpHead4, linux.AF_INET, linux.SOCK_DGRAM, linux.IPPROTO_UDP) }, "0100007F:%04X 00000000:0000 07"},
	} {
		s, errno := open(family(c.addr), c.typ, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		if errno := s.Bind(c.addr); errno != 0 {
			t.Fatal(errno)
		}
		if c.listen {
			if errno := s.Listen(1); errno != 0 {
				t.Fatal(errno)
			}
		}
		fd, errno := call.Files.Install(s, 0, true)
		if errno != 0 {
			t.Fatal(errno)
		}
		name, _ := s.LocalAddr()
		want := fmt.Sprintf(c.want, int(name[2])<<8|int(name[3]))
		if got := string(c.table()); !strings.Contains(got, want) {
			t.Errorf("table:\n%s\ndoes not contain %q", got, want)
		}
		call.Files.Close(fd)
		if got := string(c.table()); strings.Contains(got, want) {
			t.Errorf("table:\n%s\nstill contains %q", got, want)
		}
	}
}

func TestTablesHaveLinuxColumns(t *testing.T) {
	for _, c := range []struct {
		name  string
		table func() []byte
	}{
		{"dev", deviceTable},
		{"route", routeTable},
		{"if_inet6", address6Table},
		{"igmp", groupTable4},
		{"igmp6", groupTable6},
	} {
		path := "/proc/net/" + c.name
		if f, errno := vfs.Open(vfs.Root(), path, linux.O_RDONLY, 0); errno != 0 {
			t.Errorf("open %s: %s", path, errno.Name())
		} else {
			f.Release()
		}
		host, err := os.ReadFile(path)
		if err != nil {
			t.Skip(err)
		}
		want, got := strings.Split(string(host), "\n"), strings.Split(string(c.table()), "\n")
		if !strings.HasSuffix(c.name, "6") && strings.TrimSpace(got[0]) != strings.TrimSpace(want[0]) {
			t.Errorf("%s: heading\n%q, want\n%q", c.name, got[0], want[0])
		}
		last := func(lines []string) int { return len(strings.Fields(lines[len(lines)-2])) }
		if len(got) > 2 && len(want) > 2 && last(got) != last(want) {
			t.Errorf("%s: %d columns, want %d:\n%s", c.name, last(got), last(want), c.table())
		}
	}
}

func TestGroupTablesShowWhatSocketsJoined(t *testing.T) {
	s, errno := open(linux.AF_INET, linux.SOCK_DGRAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	fd, errno := call.Files.Install(s, 0, true)
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := call.Files.Dup(fd, 0, false); errno != 0 {
		t.Fatal(errno)
	}
	mreq := []byte{239, 9, 8, 7, 127, 0, 0, 1}
	const allSystems, joined = "010000E0     1 0:00000000", "070809EF     1 0:00000000"
	table := func() string { return string(groupTable4()) }
	if got := table(); !strings.Contains(got, allSystems) || strings.Contains(got, joined) {
		t.Errorf("before joining, igmp is:\n%s", got)
	}
	if errno := s.SetOption(linux.SOL_IP, linux.IP_ADD_MEMBERSHIP, mreq); errno != 0 {
		t.Fatal(errno)
	}
	if got := table(); !strings.Contains(got, joined) {
		t.Errorf("after joining, igmp lacks the group:\n%s", got)
	}
	if errno := s.SetOption(linux.SOL_IP, linux.IP_DROP_MEMBERSHIP, mreq); errno != 0 {
		t.Fatal(errno)
	}
	if got := table(); strings.Contains(got, joined) {
		t.Errorf("after leaving, igmp still has the group:\n%s", got)
	}
	if got, want := string(groupTable6()), "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"; !strings.HasPrefix(got, want) {
		t.Errorf("igmp6 is:\n%swant first:\n%s", got, want)
	}
}
