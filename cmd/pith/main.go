// Command pith builds unmodified Go programs as unikernels and runs them.
package main

import (
	"os"

	"github.com/pith-os/pith/internal/cli"
	"github.com/pith-os/pith/internal/monitor"
)

func main() {
	monitor.Child()
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
