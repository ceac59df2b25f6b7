// Package process is the monitor that runs an image as a confined Linux
// process: own namespaces, an empty root, no capability, and a seccomp filter
// that permits the system calls of the table in calls.go.
//
// The monitor executes itself again as the jail (jail.go), which gives up all
// it can and then becomes the image. It stands on Linux alone; `pith run`
// calls it through [monitor.Monitor].
package process

import (
	"context"
	"errors"

	"github.com/pith-os/pith/internal/monitor"
)

// Monitor is the process monitor.
type Monitor struct{}

var _ monitor.Monitor = Monitor{}

// Name implements [monitor.Monitor].
func (Monitor) Name() string { return "process" }

// Probe implements [monitor.Monitor].
func (Monitor) Probe(ctx context.Context) (string, error) { return "", errors.ErrUnsupported }

// Run implements [monitor.Monitor].
func (Monitor) Run(ctx context.Context, c *monitor.Config) (int, error) {
	return 0, errors.ErrUnsupported
}
