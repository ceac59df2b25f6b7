package image

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestVectorInstructionLengths(t *testing.T) {
	for _, test := range []struct {
		name string
		code []byte
		want int
	}{
		{"VZEROUPPER", []byte{0xC5, 0xF8, 0x77}, 3},
		{"VMOVDQU (SI), Y0", []byte{0xC5, 0xFE, 0x6F, 0x06}, 4},
		{"VPSHUFD $5, X1, X0", []byte{0xC5, 0xF9, 0x70, 0xC1, 0x05}, 5},
		{"VMOVDQU 0x1234(SP), Y0", []byte{0xC5, 0xFE, 0x6F, 0x84, 0x24, 0x34, 0x12, 0, 0}, 9},
		{"VPSHUFB Y1, Y0, Y0", []byte{0xC4, 0xE2, 0x7D, 0x00, 0xC1}, 5},
		{"VPALIGNR $15, Y1, Y0, Y0", []byte{0xC4, 0xE3, 0x7D, 0x0F, 0xC1, 0x0F}, 6},
		{"RORX $5, AX, BX", []byte{0xC4, 0xE3, 0x7B, 0xF0, 0xD8, 0x05}, 6},
		{"VPADDD Z1, Z0, Z0", []byte{0x62, 0xF1, 0x7D, 0x48, 0xFE, 0xC1}, 6},
		{"VMOVDQU64 64(AX), Z0", []byte{0x62, 0xF1, 0xFE, 0x48, 0x6F, 0x40, 0x01}, 7},
		{"VMOVDQU x(IP), Y0", []byte{0xC5, 0xFE, 0x6F, 0x05, 1, 2, 3, 4}, 8},
		{"VMOVDQU x(,AX*1), Y0", []byte{0xC5, 0xFE, 0x6F, 0x04, 0x05, 1, 2, 3, 4}, 9},
		{"SHA256RNDS2 X2, X1", []byte{0x0F, 0x38, 0xCB, 0xCA}, 4},
		{"SHA1RNDS4 $3, X1, X0", []byte{0x0F, 0x3A, 0xCC, 0xC1, 0x03}, 5},
		{"ADCX AX, R8", []byte{0x66, 0x4C, 0x0F, 0x38, 0xF6, 0xC0}, 6},
		{"unknown", []byte{0x06}, 1},
	} {
		if got := vectorLen(test.code); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// The bytes of SYSCALL also occur within other instructions. The scan must not report those.
func TestSystemCallInstructionsAreFound(t *testing.T) {
	files := map[string]string{
		"go.mod": "module pith\n\ngo 1.25\n", "libos/image/image.go": probeModule["libos/image/image.go"],
		"trap/trap.s": `#include "textflag.h"

TEXT ·Enter(SB), NOSPLIT, $0-0
	VMOVDQU X0, X1
	SYSCALL
	INT $0x80
	SYSENTER
	RET

TEXT ·Constant(SB), NOSPLIT, $0-0
	MOVQ $0x050F050F0D0F340F, AX
	VPALIGNR $15, X1, X0, X0
	ADDL $0x80CD050F, AX
	VPSHUFD $15, X1, X0
	ADDL $5, AX
	RET
`,
		"trap/trap.go": "package trap\n\nfunc Enter()\n\nfunc Constant()\n",
		"main/main.go": "package main\n\nimport (\n\t\"pith/libos/image\"\n\t\"pith/trap\"\n)\n\nfunc main() { trap.Enter(); trap.Constant(); println(image.Root[0]) }\n",
	}
	img, err := Open(build(t, writeTree(t, files), "./main", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	counts := map[string]int{}
	for _, s := range img.Manifest.Traps {
		counts[s.Function] = s.Count
	}
	if counts["pith/trap.Enter"] != 3 || counts["pith/trap.Constant"] != 0 || counts["runtime.futex"] != 1 {
		t.Errorf("%v", counts)
	}
}

func TestSystemCallsOfSysUnixThatCannotFailAreDiverted(t *testing.T) {
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"go.mod":               "module pith\n\ngo 1.26.0\n\nrequire golang.org/x/sys v0.49.0\n",
		"go.sum":               string(sums),
		"libos/image/image.go": probeModule["libos/image/image.go"],
		"main/main.go": `package main

import (
	"os"

	"pith/libos/image"

	"golang.org/x/sys/unix"
)

func main() {
	os.Getuid() // makes the linker keep the function that the calls are redirected to
	a, _ := unix.SyscallNoError(unix.SYS_GETPID, 0, 0, 0)
	b, _ := unix.RawSyscallNoError(unix.SYS_GETPPID, 0, 0, 0)
	println(int(a) == unix.Getpid(), int(b) == unix.Getppid(), image.Root[1] > 0)
}
`,
	}
	for name, vendor := range map[string]bool{"module cache": false, "vendored": true} {
		t.Run(name, func(t *testing.T) {
			src := writeTree(t, files)
			if vendor {
				cmd := exec.Command("go", "mod", "vendor")
				cmd.Dir = src
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			path := build(t, src, "./main", nil)
			img, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			for _, s := range img.Manifest.Traps {
				if strings.Contains(s.Function, "x/sys/unix") {
					t.Errorf("%s has a system call instruction", s.Function)
				}
			}
			out, err := exec.Command(path).CombinedOutput()
			if err != nil || !bytes.Equal(out, []byte("true true true\n")) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
