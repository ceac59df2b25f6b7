package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/network"
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
	if want := []instance.Disk{{Path: disk, Rate: 10 << 20, IOPS: 500}, {Path: disk, ReadOnly: true, Rate: 10 << 20, IOPS: 500}}; !slices.Equal(r.launch.Disks, want) {
		t.Errorf("disks %+v", r.launch.Disks)
	}
	if !r.launch.HugePages {
		t.Error("no huge pages")
	}
	if r.launch.Vsock != socket {
		t.Errorf("vsock %s", r.launch.Vsock)
	}
}

func TestNetworks(t *testing.T) {
	for in, want := range map[string]struct {
		network instance.Network
		ok      bool
	}{
		"user": {network.User{Rate: 1 << 20}, true}, "tap:tap0": {network.TAP{Interface: "tap0", Rate: 1 << 20}, true},
		"": {}, "tap": {}, "tap:": {}, "bridge": {}, "User": {}, "none": {},
	} {
		d := deviceFlags{net: in, netRate: "1M"}
		if n, err := d.network(); !reflect.DeepEqual(n, want.network) || (err == nil) != want.ok {
			t.Errorf("%q: %v, %v", in, n, err)
		}
	}
	d := deviceFlags{net: "none"}
	if n, err := d.network(); n != nil || err != nil {
		t.Errorf("none: %v, %v", n, err)
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
