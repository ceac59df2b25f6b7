package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/network"
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
	f.StringVar(&d.net, "net", "user", "`NETWORK` of the instance: none, user, or tap:NAME, an interface of the host")
	f.StringVar(&d.netRate, "net-rate", "", "limit of the network, each way: a `RATE` in bytes a second such as 10M")
	f.StringArrayVar(&d.disks, "disk", nil, "raw disk of a virtual machine, `FILE[:ro]`, a file or a block device; repeatable")
	f.StringVar(&d.diskRate, "disk-rate", "", "limit of each disk: a `RATE` in bytes a second such as 10M")
	f.Uint64Var(&d.diskIOPS, "disk-iops", 0, "limit of each disk: a `NUMBER` of requests a second")
	f.StringVar(&d.vsock, "vsock", "", "`PATH` of a unix socket to the AF_VSOCK sockets of a virtual machine")
	f.BoolVar(&d.huge, "hugepages", false, "use the host's huge pages for the memory of a virtual machine")
	f.StringVar(&d.cgroup, "cgroup", "", "cgroup for the instance, `PATH` of its folder or in version 2's hierarchy")
}

// fill reads the flags into s.
func (d *deviceFlags) fill(s *instance.Spec) (err error) {
	if s.Network, err = d.network(); err != nil {
		return err
	}
	rate, err := parseRate("--disk-rate", d.diskRate)
	if err != nil {
		return err
	}
	if len(d.disks) == 0 && (rate != 0 || d.diskIOPS != 0) {
		return errors.New("--disk-rate and --disk-iops are for disks: give some with --disk")
	}
	for _, file := range d.disks {
		path, readOnly := strings.CutSuffix(file, ":ro")
		if path == "" {
			return fmt.Errorf("--disk %s: write it as FILE[:ro], for example data.img", file)
		}
		s.Disks = append(s.Disks, instance.Disk{Path: path, ReadOnly: readOnly, Rate: rate, IOPS: d.diskIOPS})
	}
	s.Vsock, s.HugePages, s.Cgroup = d.vsock, d.huge, d.cgroup
	return nil
}

// network reads --net and --net-rate.
func (d *deviceFlags) network() (instance.Network, error) {
	rate, err := parseRate("--net-rate", d.netRate)
	if err != nil {
		return nil, err
	}
	name, tap := strings.CutPrefix(d.net, "tap:")
	switch {
	case d.net == "none" && rate != 0:
		return nil, fmt.Errorf("--net-rate %s: an instance with --net none has no network card: leave out one of the two flags", d.netRate)
	case d.net == "none":
		return nil, nil
	case d.net == "user":
		return network.User{Rate: rate}, nil
	case tap && name != "":
		return network.TAP{Interface: name, Rate: rate}, nil
	}
	return nil, fmt.Errorf("--net %s is not known: choose none, user or tap:NAME", d.net)
}

// parseRate reads bytes a second; 0 is no limit.
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
