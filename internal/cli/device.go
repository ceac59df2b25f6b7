package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/monitor"
)

// deviceFlags say what an instance has of the host, and how much of it.
type deviceFlags struct {
	net      string
	netRate  string
	disks    []string
	diskRate string
	diskIOPS uint64
	vsock    string
	huge     bool
	cgroup   string
}

func (d *deviceFlags) register(f *pflag.FlagSet) {
	f.StringVar(&d.net, "net", "user", "`NETWORK` of the instance: none, user, or tap:NAME, an interface of this machine")
	f.StringVar(&d.netRate, "net-rate", "", "most that the network moves, each way: a `RATE` in bytes a second such as 10M")
	f.StringArrayVar(&d.disks, "disk", nil, "raw disk of a virtual machine, `FILE[:ro]`, a file or a block device; repeatable")
	f.StringVar(&d.diskRate, "disk-rate", "", "most that each disk moves: a `RATE` in bytes a second such as 10M")
	f.Uint64Var(&d.diskIOPS, "disk-iops", 0, "most requests of each disk, a `NUMBER` a second")
	f.StringVar(&d.vsock, "vsock", "", "`PATH` of a unix socket to a virtual machine's AF_VSOCK sockets")
	f.BoolVar(&d.huge, "hugepages", false, "a virtual machine's memory is of this machine's huge pages")
	f.StringVar(&d.cgroup, "cgroup", "", "cgroup to place the instance in, `PATH` of its folder or in version 2's hierarchy")
}

// devices are what an instance has of the host.
type devices struct {
	net     bool   // a network: the user's, or tap
	tap     string // interface of the host; empty: none
	netRate uint64 // bytes a second, each way; 0: no limit
	disks   []monitor.Disk
	vsock   string
	limits  monitor.Limits
}

// hugePage is the usual size of a huge page.
const hugePage = 2 << 20

// check reads the flags.
func (d *deviceFlags) check() (dev devices, err error) {
	if dev.net, dev.tap, err = parseNetwork(d.net); err != nil {
		return dev, err
	}
	if dev.netRate, err = parseRate("--net-rate", d.netRate); err != nil {
		return dev, err
	}
	if dev.netRate != 0 && !dev.net {
		return dev, fmt.Errorf("--net-rate %s: an instance with --net none moves nothing: leave one of them out", d.netRate)
	}
	for _, s := range d.disks {
		disk, err := parseDisk(s)
		if err != nil {
			return dev, fmt.Errorf("--disk %s: %w", s, err)
		}
		dev.disks = append(dev.disks, disk)
	}
	dev.limits = monitor.Limits{DiskIOPS: d.diskIOPS, HugePages: d.huge, Cgroup: d.cgroup}
	if dev.limits.DiskRate, err = parseRate("--disk-rate", d.diskRate); err != nil {
		return dev, err
	}
	if len(dev.disks) == 0 && (dev.limits.DiskRate != 0 || dev.limits.DiskIOPS != 0) {
		return dev, errors.New("--disk-rate and --disk-iops are for disks: give some with --disk")
	}
	if dev.vsock, err = parseVsock(d.vsock); err != nil {
		return dev, fmt.Errorf("--vsock %s: %w", d.vsock, err)
	}
	group, err := cgroup.Open(d.cgroup)
	if err != nil {
		return dev, fmt.Errorf("--%w", err)
	}
	return dev, group.Close()
}

// parseNetwork reads the value of --net.
func parseNetwork(s string) (there bool, tap string, err error) {
	name, ok := strings.CutPrefix(s, "tap:")
	switch {
	case s == "none" || s == "user":
		return s == "user", "", nil
	case !ok || name == "":
		return false, "", fmt.Errorf("--net %s is not known: choose none, user or tap:NAME", s)
	}
	return true, name, nil
}

// parseRate reads bytes a second; none is no limit.
func parseRate(flag, s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := parseSize(s)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s %s: give bytes a second, such as 10M", flag, s)
	}
	return n, nil
}

// parseDisk reads FILE[:ro].
func parseDisk(s string) (monitor.Disk, error) {
	path, readOnly := strings.CutSuffix(s, ":ro")
	d := monitor.Disk{Path: path, ReadOnly: readOnly}
	info, err := os.Stat(path)
	switch {
	case path == "":
		return d, errors.New("write it as FILE[:ro], for example data.img")
	case errors.Is(err, os.ErrNotExist):
		return d, fmt.Errorf("there is no such file: make one of 1G with truncate -s 1G %s", path)
	case err != nil:
		return d, err
	case !info.Mode().IsRegular() && info.Mode().Type() != os.ModeDevice:
		return d, errors.New("it is neither a file nor a block device")
	}
	return d, nil
}

// parseVsock checks the path of a socket to be made.
func parseVsock(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	// unix(7) has 108 bytes, and _PORT follows for each of the host's sockets.
	const most = 108 - len("_4294967295") - 1
	if len(path) > most {
		return "", fmt.Errorf("the path of a socket has at most %d bytes here: give a shorter one", most)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return "", fmt.Errorf("there is no folder %s: make it, or give another", filepath.Dir(path))
	}
	return path, nil
}
