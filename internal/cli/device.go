package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/network"
	"github.com/pith-os/pith/internal/policy"
)

// netHost is the value of --net for the network of a namespace.
const netHost = "host"

// deviceFlags say what an instance has of the host, and how much of it.
type deviceFlags struct {
	net      string
	netRate  string
	allow    []string
	deny     []string
	loopback bool
	metadata bool
	disks    []string
	diskRate string
	diskIOPS uint64
	vsock    string
	huge     bool
	cgroup   string
	user     string
}

func (d *deviceFlags) register(f *pflag.FlagSet) {
	f.StringVar(&d.net, "net", "user", "`NETWORK` of the instance: none, user, host, or tap:NAME, an interface of the host")
	f.StringVar(&d.netRate, "net-rate", "", "limit of the network, each way: a `RATE` in bytes a second such as 10M")
	f.StringArrayVar(&d.allow, "allow", nil, "open the addresses of `CIDR[:PORT]`, where a shorter prefix is closed; repeatable")
	f.StringArrayVar(&d.deny, "deny", nil, "close the addresses of `CIDR[:PORT]`; the longest prefix decides; repeatable")
	f.BoolVar(&d.loopback, "host-loopback", false, "let the program reach the host's loopback interface, at 10.0.2.2 (host.pith.internal)")
	f.BoolVar(&d.metadata, "metadata", false, "let the program reach the metadata service of a cloud, at 169.254.169.254")
	f.StringArrayVar(&d.disks, "disk", nil, "raw disk of a virtual machine, `FILE[:ro]`, a file or a block device; repeatable")
	f.StringVar(&d.diskRate, "disk-rate", "", "limit of each disk: a `RATE` in bytes a second such as 10M")
	f.Uint64Var(&d.diskIOPS, "disk-iops", 0, "limit of each disk: a `NUMBER` of requests a second")
	f.StringVar(&d.vsock, "vsock", "", "`PATH` of a unix socket to the AF_VSOCK sockets of a virtual machine")
	f.BoolVar(&d.huge, "hugepages", false, "use the host's huge pages for the memory of a virtual machine")
	f.StringVar(&d.user, "user", "", "user of the host's process and of its sockets with --net host, `UID[:GID]`; the group is the user's number by default")
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
	if s.User, err = parseUser(d.user); err != nil {
		return err
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
	reach, err := d.reach()
	if err != nil {
		return nil, err
	}
	name, tap := strings.CutPrefix(d.net, "tap:")
	if flag := d.reachFlag(); flag != "" && d.net != "user" {
		switch {
		case d.net != netHost:
			return nil, fmt.Errorf("%s is for --net user, not for --net %s: leave out one of the two flags", flag, d.net)
		case d.loopback, d.metadata:
			return nil, fmt.Errorf("%s is for --net user: with --net host, everything is open that --deny does not close", flag)
		}
	}
	switch {
	case d.net == "none" && rate != 0:
		return nil, fmt.Errorf("--net-rate %s: an instance with --net none has no network card: leave out one of the two flags", d.netRate)
	case d.net == "none":
		return nil, nil
	case d.net == netHost && rate != 0:
		return nil, fmt.Errorf("--net-rate %s: an instance with --net host has no network card: leave out one of the two flags", d.netRate)
	case d.net == netHost:
		return network.Host{Rules: reach.Rules}, nil
	case d.net == "user":
		return network.User{Rate: rate, Policy: reach}, nil
	case tap && name != "":
		return network.TAP{Interface: name, Rate: rate}, nil
	}
	return nil, fmt.Errorf("--net %s is not known: choose none, user, host or tap:NAME", d.net)
}

// reachFlag returns a flag about reach that is given, or an empty string.
func (d *deviceFlags) reachFlag() string {
	switch {
	case len(d.allow) > 0:
		return policy.FlagAllow
	case len(d.deny) > 0:
		return policy.FlagDeny
	case d.loopback:
		return policy.FlagHostLoopback
	case d.metadata:
		return policy.FlagMetadata
	}
	return ""
}

// reach reads the flags that open and close addresses.
func (d *deviceFlags) reach() (policy.Options, error) {
	o := policy.Options{HostLoopback: d.loopback, Metadata: d.metadata}
	for _, list := range []struct {
		flag   string
		values []string
	}{{policy.FlagAllow, d.allow}, {policy.FlagDeny, d.deny}} {
		for _, v := range list.values {
			r, err := policy.ParseRule(v)
			if err != nil {
				return o, fmt.Errorf("%s %w", list.flag, err)
			}
			r.Allow, r.Name = list.flag == policy.FlagAllow, list.flag
			o.Rules = append(o.Rules, r)
		}
	}
	return o, nil
}

// parseUser reads UID[:GID].
func parseUser(s string) (*instance.User, error) {
	if s == "" {
		return nil, nil
	}
	user, group, hasGroup := strings.Cut(s, ":")
	if !hasGroup {
		group = user
	}
	uid, err1 := strconv.ParseUint(user, 10, 32)
	gid, err2 := strconv.ParseUint(group, 10, 32)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("--user %s: give UID[:GID] as numbers, such as 1000:1000", s)
	}
	return &instance.User{UID: uint32(uid), GID: uint32(gid)}, nil
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
