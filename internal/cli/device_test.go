package cli

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/monitor"
)

func TestDevicesAreAsTheFlagsSay(t *testing.T) {
	image, folder := buildImage(t, nil, nil), t.TempDir()
	disk := filepath.Join(folder, "a.img")
	if err := os.WriteFile(disk, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(folder, "vsock")
	var r recorder
	args := []string{"run", image, "--disk", disk, "--disk", disk + ":ro", "--disk-rate", "10M", "--disk-iops", "500", "--vsock", socket, "--hugepages"}
	if code, stderr := runMain(t, &r, args...); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if want := []monitor.Disk{{Path: disk}, {Path: disk, ReadOnly: true}}; !slices.Equal(r.config.Disks, want) {
		t.Errorf("disks %+v", r.config.Disks)
	}
	if want := (monitor.Limits{DiskRate: 10 << 20, DiskIOPS: 500, HugePages: true}); r.config.Limits != want {
		t.Errorf("limits %+v", r.config.Limits)
	}
	if r.config.Vsock != socket {
		t.Errorf("vsock %s", r.config.Vsock)
	}
}

func TestNetworks(t *testing.T) {
	for in, want := range map[string]struct {
		there, ok bool
		tap       string
	}{
		"user": {there: true, ok: true}, "none": {ok: true}, "tap:tap0": {there: true, ok: true, tap: "tap0"},
		"": {}, "tap": {}, "tap:": {}, "bridge": {}, "User": {},
	} {
		there, tap, err := parseNetwork(in)
		if there != want.there || tap != want.tap || (err == nil) != want.ok {
			t.Errorf("%q: %t, %q, %v", in, there, tap, err)
		}
	}
}

func TestAddressAtAnInterfaceIsAlwaysTheSame(t *testing.T) {
	first, err := net.ParseMAC(tapAddress("tap0").String())
	if err != nil {
		t.Fatal(err)
	}
	if first[0]&3 != 2 {
		t.Errorf("%s is not a locally administered address of one station", first)
	}
	if again := tapAddress("tap0"); again.String() != first.String() {
		t.Errorf("%s and %s", first, again)
	}
	if other := tapAddress("tap1"); other.String() == first.String() {
		t.Errorf("two interfaces have %s", other)
	}
}

func TestFlagsOfTests(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	own, rest, err := splitTestFlags(strings.Fields("--disk d.img:ro -v --hugepages --net-rate=10M ./... --hugepages=false -run X --disk=/a --cgroup a/b"))
	want := []string{"--disk=" + here + "/d.img:ro", "--hugepages", "--net-rate=10M", "--hugepages=false", "--disk=/a", "--cgroup=a/b"}
	if err != nil || !slices.Equal(own, want) || !slices.Equal(rest, []string{"-v", "./...", "-run", "X"}) {
		t.Errorf("%q and %q, %v", own, rest, err)
	}
}
