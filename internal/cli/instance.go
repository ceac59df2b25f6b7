package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/pith-os/pith/internal/image"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/libos/boot"
)

const defaultHostname = "pith"

// instanceFlags say what an image runs in; run and exec have them.
type instanceFlags struct {
	machineFlags
	deviceFlags
	memory   string
	cpus     int
	hostname string
	named    func() bool // --hostname is given
	folders  []string
	monitor  string
	trace    bool
}

func (i *instanceFlags) register(f *pflag.FlagSet, memory string) {
	f.StringVar(&i.memory, "memory", memory, "memory of the instance, a `SIZE` such as 64M or 1G")
	f.IntVar(&i.cpus, "cpus", 0, "`NUMBER` of CPUs; default: the host's")
	f.StringVar(&i.hostname, "hostname", defaultHostname, "`NAME` of the instance; with --net host, the host's")
	i.named = func() bool { return f.Changed("hostname") }
	f.StringArrayVarP(&i.folders, "volume", "v", nil, "share a folder with the program, `HOST:GUEST[:ro]`; repeatable")
	f.StringVar(&i.monitor, "monitor", "auto", "what runs the image, a `MONITOR`: "+strings.Join(monitorNames(), ", "))
	f.BoolVar(&i.trace, "trace", false, "print system calls to standard error, as strace does")
	i.deviceFlags.register(f)
	i.machineFlags.register(f)
}

// plan is what a command is about to run: a Spec, and what the command line
// knows beside it.
type plan struct {
	instance.Spec
	monitor choice
	publish []portMapping // TCP ports; their sockets are made before the start
	verbose bool
}

// plan reads the flags and checks all that does not take the image. preferred is
// the name of the monitor that --monitor auto tries first.
func (i *instanceFlags) plan(ctx context.Context, preferred string) (*plan, error) {
	p := &plan{Spec: instance.Spec{CPUs: i.cpus, Hostname: i.hostname, Trace: i.trace}}
	if err := errors.Join(i.machineFlags.fill(&p.Spec), i.deviceFlags.fill(&p.Spec)); err != nil {
		return nil, err
	}
	var err error
	if p.Folders, err = parseFolders(i.folders); err != nil {
		return nil, err
	}
	if p.Memory, err = parseSize(i.memory); err != nil {
		return nil, fmt.Errorf("--memory %s: %w", i.memory, err)
	}
	if i.net == netHost && !i.named() {
		if p.Hostname, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	if p.Hostname == "" {
		return nil, errors.New("--hostname: the name is empty: give a name, or leave out the flag")
	}
	if p.monitor, err = chooseMonitor(ctx, i.monitor, preferred, p.Needs()); err != nil {
		return nil, err
	}
	p.Monitor = p.monitor.Monitor
	return p, flagged(p.Check())
}

// defaultEnv is the beginning of the program's environment. As in a container,
// the program inherits nothing of the host's.
func (p *plan) defaultEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"HOSTNAME=" + p.Hostname,
	}
}

// start runs an image in the foreground and keeps its exit code.
func (s *session) start(ctx context.Context, p *plan, img *image.Image) error {
	p.Image, p.Stdin, p.Stdout, p.Stderr = img.File(), s.stdin, s.stdout, s.stderr
	if !slices.Contains(img.Manifest.Parts, "net") {
		p.Network = nil
	}
	if p.verbose {
		p.Log = func(format string, args ...any) { fmt.Fprintf(s.stderr, "pith: "+format+"\n", args...) }
		p.Log("monitor %s", p.monitor)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, m := range p.publish {
		socket, err := instance.Bind(m.host)
		if err != nil {
			return &exitError{boot.ExitFailure, err}
		}
		defer unix.Close(socket)
		p.Ports = append(p.Ports, instance.Port{Number: m.guest, Socket: socket})
	}
	// From here on signals are the program's.
	signals := catchSignals()
	defer signals.release()
	i, err := instance.Start(context.WithoutCancel(ctx), &p.Spec)
	if err != nil {
		return &exitError{boot.ExitFailure, flagged(err)}
	}
	if s.exitCode, err = signals.wait(i); err != nil {
		return &exitError{boot.ExitFailure, flagged(err)}
	}
	return nil
}
