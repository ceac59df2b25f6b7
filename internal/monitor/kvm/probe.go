package kvm

import (
	"context"

	"github.com/pith-os/pith/internal/kvm/probe"
)

// Probe implements [monitor.Monitor].
func (Monitor) Probe(ctx context.Context) (string, error) {
	found, err := probe.Run(ctx)
	if err != nil {
		return "", err
	}
	return found.String(), nil
}
