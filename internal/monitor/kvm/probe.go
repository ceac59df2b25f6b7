package kvm

import (
	"context"

	"github.com/pith-os/pith/internal/kvm/probe"
)

// Ready implements [monitor.Monitor].
func (Monitor) Ready(ctx context.Context) (string, error) { return say(probe.Known(ctx)) }

// Probe implements [monitor.Monitor].
func (Monitor) Probe(ctx context.Context) (string, error) { return say(probe.Renew(ctx)) }

func say(found probe.Found, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return found.String(), nil
}
