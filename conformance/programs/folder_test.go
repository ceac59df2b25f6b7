package main

import (
	"os"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

// The domains of files once more, in a folder of the host. Not those of FIFOs and
// sockets, which QEMU cannot make there.
func TestFoldersOfTheHost(t *testing.T) {
	for _, domain := range []string{"files", "directories", "links", "copying", "inotify", "locks"} {
		truth := run(t, harness.Plain, domain)
		for _, m := range harness.Selected() {
			if !m.Image {
				continue
			}
			t.Run(domain+"/"+m.Name, func(t *testing.T) {
				folder := t.TempDir()
				p := program(domain)
				p.Flags = []string{"-v", folder + ":/shared"}
				p.Env = append(p.Env, "TMPDIR=/shared")
				i := harness.Start(t, m, p)
				code, err := i.Wait(2 * harness.Timeout)
				if err != nil || code != truth.code {
					t.Errorf("exit code %d, %v; on Linux %d", code, err, truth.code)
				}
				diff(t, i.Stdout(), truth.stdout)
				if left, err := os.ReadDir(folder); err != nil || len(left) == 0 {
					t.Errorf("nothing is in the folder: %v", err)
				}
			})
		}
	}
}
