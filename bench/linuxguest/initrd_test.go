package linuxguest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/vfs/cpio"
)

func TestAnArchiveHasWhatWasAdded(t *testing.T) {
	from := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(from, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	var a archive
	a.folder("dev")
	if err := a.copy("init", from); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := cpio.Read(a.close(), func(e *cpio.Entry) error {
		got = append(got, e.Name+"="+string(e.Data))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(got, " "); s != "dev= init=12345" {
		t.Error(s)
	}
}

func TestTheNetworkIsFieldsOfTheCommandLine(t *testing.T) {
	got := Network(boot.Net{Addr4: "10.0.2.15/24", Gateway4: "10.0.2.2", DNS: []string{"10.0.2.3", "fd00::3"}})
	want := "linuxguest.address=10.0.2.15/24 linuxguest.gateway=10.0.2.2 linuxguest.dns=10.0.2.3 linuxguest.dns=fd00::3"
	if got != want {
		t.Error(got)
	}
}

// A program without a network is the first process, on both kinds of machine.
func TestABareProgramIsTheFirstProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("it boots Linux on an emulated processor")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("no QEMU: apt-get install qemu-system-x86")
	}
	k, err := Fetch(t.Context())
	if err != nil {
		t.Skip("no Linux to boot:", err)
	}
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	const text = `package main; import ("fmt"; "os"); func main() { fmt.Println("process", os.Getpid()) }`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	disk, err := Bare(program)
	if err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(dir, "initrd")
	if err := os.WriteFile(initrd, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	clock, err := Clock()
	if err != nil {
		t.Fatal(err)
	}
	for _, machine := range []string{"microvm", "q35"} {
		out, err := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-machine", machine, "-accel", "tcg", "-cpu", "max", "-m", "256M",
			"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
			"-kernel", k.Image, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 "+clock).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("process 1\r\n")) {
			t.Errorf("%s: %v\n%s", machine, err, out)
		}
	}
}
