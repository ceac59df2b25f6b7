package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/pith-os/pith/internal/monitor"

	"golang.org/x/sys/unix"
)

// image is a running image.
type image struct {
	jail
	control *os.File
	link    *os.File    // nil: no network device
	files   *fileServer // nil: no folders
}

// start makes the jail and waits until it has become the image. It says how
// the image is confined.
func start(ctx context.Context, c *monitor.Config, listeners []*monitor.Listener) (*image, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	id := chooseIdentity()
	file, err := executable(c.Image, id.uid)
	if err != nil {
		return nil, "", err
	}
	if file != c.Image {
		defer file.Close()
	}
	fds := make([]int, len(listeners))
	for i, l := range listeners {
		fds[i] = l.FD
	}
	l, err := newLayout(c, fds, int(file.Fd()))
	if err != nil {
		return nil, "", err
	}
	p := spawn(l.jail, len(listeners), id)
	l.closeJail()
	if p.err != nil {
		l.closeMonitor()
		return nil, "", fmt.Errorf("start the jail: %w", p.err)
	}
	// When ctx is done there is no waiting for the jail's answer.
	stop := context.AfterFunc(ctx, func() { _ = l.status.SetDeadline(time.Unix(0, 1)) })
	rep, err := instruct(l.status, newRequest(c, id, p.set))
	stop()
	if err != nil {
		// It ends by itself or has ended; when it hangs, this ends it.
		p.signal(unix.SIGKILL)
		<-p.ended
		_, waitErr := p.reap()
		l.closeMonitor()
		return nil, "", errors.Join(ctx.Err(), err, waitErr)
	}
	l.status.Close()
	how := fmt.Sprintf("namespaces: %s; root: %s; %d system calls", namesOf(p.set), rep.Root, len(permitted(bounds{})))
	return &image{p, l.control, l.link, l.files}, how, nil
}

// newRequest is what the jail is asked for.
func newRequest(c *monitor.Config, id identity, set []namespace) request {
	req := request{
		Args: byteStrings(c.Args), Env: byteStrings(c.Env), Boot: c.Boot,
		UID: id.uid, GID: id.gid,
		OwnUser:   flagsOf(set)&unix.CLONE_NEWUSER != 0,
		OwnMounts: flagsOf(set)&unix.CLONE_NEWNS != 0,
	}
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

// instruct tells the jail what to do and reads its answers, until it has
// executed the image.
func instruct(status *os.File, req request) (report, error) {
	line, err := json.Marshal(req)
	if err != nil {
		return report{}, err
	}
	// When the jail has ended early, its answer says more than this error.
	_, writeErr := status.Write(line)
	var last report
	for n, answers := 0, json.NewDecoder(status); ; n++ {
		var r report
		err := answers.Decode(&r)
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return last, nil
		case err != nil:
			return report{}, fmt.Errorf("the jail ended early: %w", errors.Join(writeErr, err))
		case r.Error != "":
			return report{}, errors.New(r.Error)
		}
		last = r
	}
}

// jail is a started jail, later the image, or the reason why there is none. Its
// process id stays its own until reap, so that a signal never meets another
// process.
type jail struct {
	set   []namespace
	pid   int
	ended chan error // receives once, when the process has ended
	err   error
}

// signal sends sig. That the process has ended already is no error.
func (j jail) signal(sig unix.Signal) { _ = unix.Kill(j.pid, sig) }

// reap forgets a process that has ended and says how it did.
func (j jail) reap() (status unix.WaitStatus, err error) {
	_, err = unix.Wait4(j.pid, &status, 0, nil)
	return status, err
}

// spawn executes this program again as the jail, in as many namespaces as the
// host allows. A thread does it that lives as long as the image: the kernel
// kills the image when the thread that started it ends (PR_SET_PDEATHSIG in
// prctl(2)), which is to happen when the monitor ends, in whatever way.
func spawn(fds []int, listeners int, id identity) jail {
	started := make(chan jail)
	go func() {
		runtime.LockOSThread()
		j := fork(fds, listeners, id)
		started <- j
		if j.err == nil {
			j.ended <- awaitEnd(j.pid)
		}
	}()
	return <-started
}

func fork(fds []int, listeners int, id identity) jail {
	files := make([]uintptr, len(fds))
	for i, fd := range fds {
		files[i] = uintptr(fd)
	}
	argv := []string{jailName, strconv.Itoa(listeners)}
	// The first three are what confineAndExec relies on; the fourth saves
	// reading what the host's cgroup allows.
	env := []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1,containermaxprocs=0"}
	var err error
	for _, set := range attempts() {
		var pid int
		pid, _, err = syscall.StartProcess("/proc/self/exe", argv,
			&syscall.ProcAttr{Files: files, Env: env, Sys: id.attributes(set)})
		if err == nil {
			return jail{set: set, pid: pid, ended: make(chan error, 1)}
		}
		if !refused(err) {
			break
		}
	}
	return jail{err: err}
}

// awaitEnd waits for the end of a child and leaves it to be reaped.
func awaitEnd(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
