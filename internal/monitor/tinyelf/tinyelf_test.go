package tinyelf

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestProgramsRunOnLinux(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(p *Program)
		out   string
		code  int
	}{
		{"exit", func(p *Program) { p.Exit(42) }, "", 42},
		{"errno", func(p *Program) { p.Syscall(3, Imm(99)); p.ExitErrno() }, "", 9},
		{"data", func(p *Program) { p.Syscall(1, Imm(1), p.CString("hello"), Imm(5)); p.Exit(0) }, "hello", 0},
		{"branch not taken", func(p *Program) {
			p.Move(RAX, Imm(1))
			p.IfZero(func() { p.Exit(1) })
			p.Exit(2)
		}, "", 2},
		{"branch taken", func(p *Program) {
			p.Move(RAX, Imm(0))
			p.IfZero(func() { p.Exit(1) })
			p.Exit(2)
		}, "", 1},
		{"memory and registers", func(p *Program) {
			cell := p.Data(make([]byte, 8))
			p.Move(R15, Imm(7))
			p.Store(cell, R15)
			p.Load(cell)
			p.Syscall(sysExitGroup, RAX)
		}, "", 7},
		{"loop", func(p *Program) {
			p.Move(RAX, Imm(3))
			p.Forever(func() {
				p.Raw(0x48, 0xff, 0xc8) // DEC RAX
				p.IfZero(func() { p.Exit(5) })
			})
		}, "", 5},
		{"function", func(p *Program) {
			f := p.Func(func() { p.Exit(6) })
			p.Call(f)
		}, "", 6},
		{"argument", func(p *Program) {
			p.LoadStack(RSI, 16)
			p.Syscall(1, Imm(1), RSI, Imm(3))
			p.Exit(0)
		}, "arg", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p Program
			test.write(&p)
			file := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(file, p.Bytes(), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(file, "arg")
			out, err := cmd.Output()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if string(out) != test.out || cmd.ProcessState.ExitCode() != test.code {
				t.Errorf("output %q, %v; want %q, exit code %d", out, cmd.ProcessState, test.out, test.code)
			}
		})
	}
}
