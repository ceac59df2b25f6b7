package process

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/pith-os/pith/internal/cgroup"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// start makes the jail and waits until it has executed the image.
func start(ctx context.Context, launch *instance.Launch) (*running, error) {
	id, err := identity(launch)
	if err != nil {
		return nil, err
	}
	file, err := jail.Executable(launch.Image, id.UID)
	if err != nil {
		return nil, err
	}
	if file != launch.Image {
		defer file.Close()
	}
	group, err := cgroup.Open(launch.Cgroup)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	l, err := newLayout(launch, id, int(file.Fd()))
	if err != nil {
		return nil, err
	}
	r := &running{launch: launch, control: l.control, files: l.files, sockets: l.sockets}
	if l.link >= 0 {
		if r.link, err = newLink(l); err != nil {
			l.closeJail()
			l.closeMonitor()
			return nil, err
		}
	}
	r.Process, err = jail.Spawn(jail.Child{
		Name: jailName, Args: []string{strconv.Itoa(len(launch.Ports))}, Files: l.jail, Cgroup: group,
	}, id)
	l.closeJail()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the jail: %w", err), r.abandon(l))
	}
	report, err := jail.Ask(ctx, l.status, newRequest(launch, jail.NewRequest(r.Process, id)))
	if err != nil {
		return nil, errors.Join(err, r.abandon(l), r.Kill())
	}
	l.status.Close()
	r.how = fmt.Sprintf("namespaces: %s; root: %s; %d system calls", r.Namespaces, report.Root, jail.Calls(permitted(bounds{addresses: launch.Sockets.Mode() == boot.SocketsAll})))
	return r, nil
}

// identity returns the ids of the image's process.
func identity(l *instance.Launch) (jail.Identity, error) {
	if l.User == nil {
		return jail.ChooseIdentity(), nil
	}
	id, err := jail.NewIdentity(int(l.User.UID), int(l.User.GID))
	if err != nil {
		return id, &instance.Error{Part: instance.Owner, Err: err}
	}
	return id, nil
}

// newLink makes the link of the network card.
func newLink(l *layout) (link.Link, error) {
	fd := l.link
	l.link = -1
	s, err := link.NewSocket(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return s, nil
}

// abandon closes the files of an image that does not run.
func (r *running) abandon(l *layout) error {
	l.closeMonitor()
	if r.link == nil {
		return nil
	}
	return r.link.Close()
}

// newRequest returns the request to the jail.
func newRequest(l *instance.Launch, r jail.Request) request {
	config := l.Boot
	config.Sockets = l.Sockets.Mode()
	return request{Request: r, Args: byteStrings(l.Args), Env: byteStrings(l.Env), Boot: config}
}

func byteStrings(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}
