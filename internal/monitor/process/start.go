package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/folders"
	"github.com/pith-os/pith/internal/monitor/jail"
)

// image is a running image.
type image struct {
	*jail.Process
	control *os.File
	link    *os.File        // nil: no network device
	files   *folders.Server // nil: no folders
}

// start makes the jail and waits until it has become the image. It says how
// the image is confined.
func start(ctx context.Context, c *monitor.Config, listeners []*monitor.Listener) (*image, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	id := jail.ChooseIdentity()
	file, err := jail.Executable(c.Image, id.UID)
	if err != nil {
		return nil, "", err
	}
	if file != c.Image {
		defer file.Close()
	}
	group, err := cgroup.Open(c.Limits.Cgroup)
	if err != nil {
		return nil, "", err
	}
	defer group.Close()
	fds := make([]int, len(listeners))
	for i, l := range listeners {
		fds[i] = l.FD
	}
	l, err := newLayout(c, fds, int(file.Fd()))
	if err != nil {
		return nil, "", err
	}
	p, err := jail.Spawn(jail.Child{
		Name: jailName, Args: []string{strconv.Itoa(len(listeners))}, Files: l.jail, Cgroup: group,
	}, id)
	l.closeJail()
	if err != nil {
		l.closeMonitor()
		return nil, "", fmt.Errorf("start the jail: %w", err)
	}
	rep, err := jail.Ask(ctx, l.status, newRequest(c, jail.NewRequest(p, id)))
	if err != nil {
		l.closeMonitor()
		return nil, "", errors.Join(err, p.Kill())
	}
	l.status.Close()
	how := fmt.Sprintf("namespaces: %s; root: %s; %d system calls", p.Namespaces, rep.Root, len(permitted(bounds{})))
	return &image{p, l.control, l.link, l.files}, how, nil
}

// newRequest is what the jail is asked for.
func newRequest(c *monitor.Config, r jail.Request) request {
	req := request{Request: r, Args: byteStrings(c.Args), Env: byteStrings(c.Env), Boot: c.Boot}
	req.Boot.Publish = nil
	for _, p := range c.Publish {
		req.Boot.Publish = append(req.Boot.Publish, p.Guest)
	}
	req.Boot.Mounts = monitor.Mounts(c.Folders)
	req.Boot.TTY = monitor.Terminals(c.Stdin, c.Stdout, c.Stderr)
	return req
}

func byteStrings(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}
