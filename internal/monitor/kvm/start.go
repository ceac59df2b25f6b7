package kvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/device/block"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/device/vsock"
	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/folders"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/kvm/confine"
	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// instance is a running machine, as this process sees it.
type instance struct {
	process *jail.Process
	how     string
	status  *os.File
	answers *json.Decoder
	control guest.Control
	link    link.Link         // of the network device; nil: there is none
	front   *vhostuser.Server // what the VMM connects to for it, or nil
	folders []*folders.Server
	broker  *vsock.Broker // of the vsock device, or nil
}

// start starts the VMM and waits until its machine runs.
func start(ctx context.Context, c *monitor.Config) (_ *instance, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.Limits.HugePages {
		if err := monitor.CheckHugePages(c.Boot.Memory); err != nil {
			return nil, err
		}
	}
	var own []*os.File // closed here once the VMM has them, or has not
	handed := func() {
		for _, f := range own {
			f.Close()
		}
		own = nil
	}
	defer handed()
	i := &instance{control: guest.NewControl()}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.abandon())
		}
	}()

	var disks []*block.Backend
	var fds files
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f == nil {
			if f, err = null(); err != nil {
				return nil, err
			}
		}
		fds.add(f)
	}
	pair := func(name string) (ours, theirs *os.File, err error) {
		ours, theirs, err = socketpair(name, unix.SOCK_STREAM)
		own = append(own, theirs)
		return ours, theirs, err
	}
	var theirs *os.File
	if i.status, theirs, err = pair("status"); err != nil {
		return nil, err
	}
	fds.add(theirs) // statusFD
	device, err := kvm.Open()
	if err != nil {
		return nil, err
	}
	own = append(own, device)
	for _, d := range c.Disks {
		b, err := block.Open(d.Path, d.ReadOnly)
		if err != nil {
			return nil, err
		}
		own = append(own, b.File)
		disks = append(disks, b)
	}
	req := request{
		KVM: fds.add(device), Image: fds.add(c.Image),
		CPUs: max(1, c.Boot.CPUs), Memory: c.Boot.Memory, HugePages: c.Limits.HugePages,
		Streams:   [3]bool{c.Stdin != nil, c.Stdout != nil, c.Stderr != nil},
		Verbose:   c.Log != nil,
		OneOutput: guest.SameFile(c.Stdout, c.Stderr),
	}
	if i.control.Port, theirs, err = pair(boot.PortControl); err != nil {
		return nil, err
	}
	req.Control = fds.add(theirs)
	if req.Line, err = guest.BootLine(c); err != nil {
		return nil, err
	}
	if c.Network != nil {
		var file *os.File
		if req.Net, file, err = i.network(c, &fds, req.CPUs); err != nil {
			return nil, err
		}
		own = append(own, file)
	}
	for n, m := range monitor.Mounts(c.Folders) {
		socket, err := i.serveFolder(c.Folders[n])
		if err != nil {
			return nil, err
		}
		own = append(own, socket)
		req.Folders = append(req.Folders, folderRequest{m.Tag, fds.add(socket)})
	}
	for _, b := range disks {
		req.Disks = append(req.Disks, diskRequest{fds.add(b.File), b.Info, min(req.CPUs, maxPairs),
			int64(c.Limits.DiskRate), int64(c.Limits.DiskIOPS)})
	}
	if c.Vsock != "" {
		if i.broker, err = vsock.Listen(c.Vsock); err != nil {
			return nil, err
		}
		req.Vsock = &vsockRequest{fds.add(i.broker.Listener), fds.add(i.broker.Device)}
	}
	if err := i.launch(ctx, c, &fds, &req, handed); err != nil {
		return nil, err
	}
	if i.broker != nil {
		return i, i.broker.Handed()
	}
	return i, nil
}

// launch has the VMM run what is asked for. It calls handed when the VMM has its
// descriptors: its end is seen when nobody else has them.
func (i *instance) launch(ctx context.Context, c *monitor.Config, fds *files, req *request, handed func()) error {
	numbers := make([]int, len(fds.list))
	for n, f := range fds.list {
		numbers[n] = int(f.Fd())
	}
	group, err := cgroup.Open(c.Limits.Cgroup)
	if err != nil {
		return err
	}
	i.process, i.how, err = jail.Start(ctx, jail.Program{
		Name: vmmName, Env: append(confine.Environment, fmt.Sprintf("GOMAXPROCS=%d", share())), Files: numbers,
		Limits: limits, Threads: maxThreads, Cgroup: group,
	})
	if err := errors.Join(err, group.Close()); err != nil {
		return fmt.Errorf("start the virtual machine monitor: %w", err)
	}
	handed()
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	// When the VMM has ended early, its answer says more than this error.
	_, writeErr := i.status.Write(line)
	i.answers = json.NewDecoder(i.status)
	var r jail.Report
	switch err := i.answers.Decode(&r); {
	case err != nil:
		return fmt.Errorf("the virtual machine monitor ended early: %w", errors.Join(ctx.Err(), writeErr, err))
	case r.Error != "":
		return errors.New(r.Error)
	}
	return nil
}

// What the VMM's process may use.
var limits = map[int]uint64{
	unix.RLIMIT_CORE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_MSGQUEUE: 0, unix.RLIMIT_NICE: 0, unix.RLIMIT_RTPRIO: 0,
	unix.RLIMIT_NOFILE: 4096,
}

// maxThreads is far above what the CPUs, the devices and the Go runtime take.
const maxThreads = 512

// serveFolder serves a folder of the host, and returns the VMM's end of the
// socket for it.
func (i *instance) serveFolder(f monitor.Folder) (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for %s: %w", f.Host, err)
	}
	theirs := os.NewFile(uintptr(fds[1]), f.Host)
	folders.GrowBuffer(fds[1])
	s, err := folders.New(fds[0], []ninep.Folder{{Path: f.Host, ReadOnly: f.ReadOnly}})
	if err != nil {
		return nil, errors.Join(err, theirs.Close())
	}
	i.folders = append(i.folders, s)
	return theirs, nil
}

// last is what the VMM says when it fails.
func (i *instance) last() error {
	defer i.status.Close()
	var r jail.Report
	err := i.answers.Decode(&r)
	if err == nil && r.Error != "" {
		return errors.New(r.Error)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("the virtual machine monitor: %w", err)
	}
	return nil
}

// signal sends the program a signal; those that stop, continue and kill are
// for the VMM, and no business of what goes on inside.
func (i *instance) signal(sig unix.Signal) {
	switch sig {
	case unix.SIGKILL, unix.SIGSTOP:
		i.process.Signal(sig)
		return
	case unix.SIGCONT:
		i.process.Signal(sig)
	}
	i.control.Say(boot.Signal(sig).String())
}

// unplug ends the network device, once the VMM has ended.
func (i *instance) unplug() error {
	if i.front == nil {
		return nil
	}
	return i.front.Close()
}

// abandon ends what was begun of an instance that does not run.
func (i *instance) abandon() (err error) {
	if i.process != nil {
		err = i.process.Kill()
	}
	for _, f := range []*os.File{i.status, i.control.Port} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if i.link != nil {
		err = errors.Join(err, i.link.Close())
	}
	for _, f := range i.folders {
		f.Close()
	}
	if i.broker != nil {
		err = errors.Join(err, i.broker.Close())
	}
	return errors.Join(err, i.unplug())
}

// socketpair is a pair of connected unix sockets.
func socketpair(name string, kind int) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
