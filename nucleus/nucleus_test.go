// Package nucleus holds files of package runtime, see layout.go. Its tests look
// at what the compiler made of them, and at what docs/security.md says.
package nucleus

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// program is a linked image with its symbols.
type program struct {
	table *gosym.Table
	text  *elf.Section
	code  []byte
}

var image = sync.OnceValues(func() (*program, error) {
	dir, err := os.MkdirTemp("", "nucleus-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "hello.pith")
	cmd := exec.Command("go", "run", "../cmd/pith", "build", "--ldflags=", "-o", file, "../examples/hello")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %s", err, out)
	}
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &program{text: f.Section(".text")}
	if p.code, err = p.text.Data(); err != nil {
		return nil, err
	}
	lines, err := f.Section(".gopclntab").Data()
	if err != nil {
		return nil, err
	}
	p.table, err = gosym.NewTable(nil, gosym.NewLineTable(lines, p.text.Addr))
	return p, err
})

// functions are those of the nucleus, by name.
func functions(t *testing.T) (*program, map[string]gosym.Func) {
	p, err := image()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]gosym.Func{}
	for _, f := range p.table.Funcs {
		if p.inNucleus(f.Entry) {
			found[f.Name] = f
		}
	}
	if len(found) < 50 {
		t.Fatalf("only %d functions of the nucleus are in the image", len(found))
	}
	return p, found
}

func (p *program) inNucleus(addr uint64) bool {
	file, _, _ := p.table.PCToLine(addr)
	return strings.HasPrefix(filepath.Base(file), "pith_nucleus_")
}

func (p *program) body(f gosym.Func) []byte { return p.code[f.Entry-p.text.Addr : f.End-p.text.Addr] }

// Vector registers are the interrupted program's. Where KVM is virtualised itself,
// what runs at CPL 0 is interpreted, and these instructions are not.
func TestTheNucleusTouchesNoVectorRegister(t *testing.T) {
	p, funcs := functions(t)
	notInterpreted := []x86asm.Op{
		x86asm.POPCNT, x86asm.CMPXCHG16B, x86asm.XSAVE, x86asm.XSAVE64, x86asm.XRSTOR, x86asm.XGETBV,
		x86asm.RDTSCP, x86asm.MONITOR, x86asm.INVPCID, x86asm.INT,
	}
	data := []string{"runtime.nucleustrampoline", "runtime.nucleusstubs"} // 16-bit code; bytes between jumps
	for name, f := range funcs {
		if slices.Contains(data, name) {
			continue
		}
		code := p.body(f)
		for at := 0; at < len(code); {
			if code[at] == 0xcc { // padding
				at++
				continue
			}
			inst, err := x86asm.Decode(code[at:], 64)
			if err != nil {
				if name == "runtime.nucleusxsetbv" && code[at] == 0x0f {
					at += 3
					continue
				}
				t.Errorf("%s+%#x: % x is no instruction that the nucleus may have", name, at, code[at:min(at+8, len(code))])
				break
			}
			for _, a := range inst.Args {
				if r, ok := a.(x86asm.Reg); ok && (x86asm.X0 <= r && r <= x86asm.X15 || x86asm.M0 <= r && r <= x86asm.M7) {
					t.Errorf("%s+%#x: %v", name, at, inst)
				}
			}
			if slices.Contains(notInterpreted, inst.Op) {
				t.Errorf("%s+%#x: %v is not interpreted everywhere", name, at, inst)
			}
			at += inst.Len
		}
	}
}

// What the nucleus called would run at CPL 0 too.
func TestTheNucleusCallsOnlyItself(t *testing.T) {
	p, funcs := functions(t)
	for name, f := range funcs {
		if name == "runtime.nucleustrampoline" {
			continue
		}
		code := p.body(f)
		for at := 0; at < len(code); {
			inst, err := x86asm.Decode(code[at:], 64)
			if err != nil {
				at++
				continue
			}
			at += inst.Len
			rel, ok := inst.Args[0].(x86asm.Rel)
			if !ok {
				if inst.Op == x86asm.CALL {
					t.Errorf("%s+%#x: an indirect call", name, at)
				}
				continue
			}
			target := f.Entry + uint64(at) + uint64(int64(rel))
			if !p.inNucleus(target) {
				_, _, to := p.table.PCToLine(target)
				t.Errorf("%s+%#x goes to %v", name, at, to.Name)
			}
		}
	}
}

// The entry's code until long mode is decoded by the CPU in 32-bit mode, and was
// assembled in 64-bit mode.
func TestTheEntryMeansTheSameInBothModes(t *testing.T) {
	p, funcs := functions(t)
	sameInBothModes(t, p.body(funcs["runtime.nucleuscheck"]))
	code, _, ok := bytes.Cut(p.body(funcs["runtime.nucleus32"]), []byte{0xff, 0x6f}) // the far jump
	if !ok {
		t.Fatal("nucleus32 has no far jump")
	}
	sameInBothModes(t, code)
}

func sameInBothModes(t *testing.T, code []byte) {
	for at := 0; at < len(code); {
		if code[at] == 0xcc { // padding
			at++
			continue
		}
		wide, err := x86asm.Decode(code[at:], 64)
		narrow, err2 := x86asm.Decode(code[at:], 32)
		if err != nil || err2 != nil || wide.Op != narrow.Op || wide.Len != narrow.Len {
			t.Fatalf("+%#x: %v (%v), in 32-bit mode %v (%v)", at, wide, err, narrow, err2)
		}
		if m, ok := wide.Args[1].(x86asm.Mem); ok && m.Base == x86asm.RIP {
			t.Fatalf("+%#x: %v is relative to IP", at, wide)
		}
		at += wide.Len
	}
}

var update = flag.Bool("update", false, "write the table of the nucleus to docs/security.md")

const (
	document   = "../docs/security.md"
	tableStart = "<!-- nucleus: go test ./nucleus -run Table -update -->\n"
	tableEnd   = "<!-- end of nucleus -->\n"
	mostLines  = 2500
)

// purpose says what each file is for; the table has its lines of code.
var purpose = map[string]string{
	"pvh_amd64.s":           "from a monitor's PVH entry, in 32-bit mode, to 64-bit mode",
	"pvh_amd64.go":          "what such a monitor passes, as a boot record",
	"cpu_amd64.s":           "a CPU's way to CPL 3, and the start of the others",
	"trap_amd64.s":          "entry and exit of exceptions, interrupts and calls; privileged instructions",
	"interrupt_amd64.s":     "interrupts, the wait for one, the timer",
	"layout.go":             "the nucleus's state, and what it shares with CPL 3",
	"layout_amd64.go":       "the address space, a CPU's state, registers and descriptors",
	"instructions_amd64.go": "the declarations of what is in assembly",
	"start.go":              "state, image and parameters from a boot record",
	"memory.go":             "memory and page tables for the start",
	"cpu_amd64.go":          "features, descriptor tables, I/O permissions and registers of a CPU",
	"frames.go":             "which page frames are free",
	"tables.go":             "changes of the page tables, demand paging",
	"pte_amd64.go":          "page table entries",
	"trap_amd64.go":         "what to do about an exception or interrupt",
	"call.go":               "the calls of CPL 3, and what they may not ask for",
	"apic_amd64.go":         "timer, interrupts between CPUs, starting CPUs",
	"shootdown_amd64.go":    "TLB shootdown",
	"tsc_amd64.go":          "the frequency of the time stamp counter",
	"die.go":                "last words",
	"die_amd64.go":          "the console, the report of a crash, and the end of the virtual machine",
}

func TestTableOfTheDocument(t *testing.T) {
	files, err := filepath.Glob("*_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	total := 0
	for _, name := range append(files, more...) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if purpose[name] == "" {
			t.Errorf("%s is not described", name)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				counts[name]++
				total++
			}
		}
	}
	if total > mostLines {
		t.Errorf("the nucleus has %d lines of code, more than %d", total, mostLines)
	}
	var b strings.Builder
	b.WriteString("| File | Lines | What it does |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", name, counts[name], purpose[name])
	}
	fmt.Fprintf(&b, "| all | %d | |\n", total)
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableStart)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", document)
	}
	if *update {
		if err := os.WriteFile(document, []byte(before+tableStart+b.String()+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != b.String() {
		t.Errorf("the table in %s is not of this nucleus: go test ./nucleus -run Table -update", document)
	}
}
