// Command pith builds unmodified Go programs as unikernels and runs them.
package main

import (
	"os"

	"github.com/pith-os/pith/internal/cli"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/kvm"
	"github.com/pith-os/pith/internal/monitor/process"
)

func main() {
	jail.Main()
	process.Main() // becomes the jail when this process was started as one
	kvm.Main()     // and this the virtual machine monitor
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
