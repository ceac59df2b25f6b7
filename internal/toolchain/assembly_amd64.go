package toolchain

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// asmEdits are the assembly files with SYSCALL instructions. The functions in jumps jump to
// the gate instead of calling it. They must not change the stack pointer, or their stack is
// already freed. The functions in refused fail with ENOSYS.
var asmEdits = []struct {
	path           string
	jumps, refused []string
	optional       bool // not in every supported release
}{
	{path: "runtime/sys_linux_amd64.s", jumps: []string{"sigreturn__sigaction", "exitThread"}},
	{path: "runtime/time_linux_amd64.s"},
	{path: "internal/runtime/syscall/asm_linux_amd64.s", optional: true},       // 1.25
	{path: "internal/runtime/syscall/linux/asm_linux_amd64.s", optional: true}, // 1.26 and later
	{path: "syscall/asm_linux_amd64.s", refused: []string{"rawVforkSyscall"}},
}

// gateCalls rewrites an assembly file. Each SYSCALL instruction becomes a call of the gate in
// package runtime. In the functions in jumps it becomes a jump to the gate. In the functions
// in refused it becomes an instruction that sets the result ENOSYS.
func gateCalls(src []byte, jumps, refused []string) ([]byte, error) {
	const (
		call   = "CALL\truntime·pithgate(SB)"
		jump   = "JMP\truntime·pithgate(SB)"
		enosys = "MOVQ\t$-38, AX"
	)
	found := map[string]bool{}
	instead := call
	lines := strings.Split(string(src), "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "TEXT "); ok {
			name, _, _ := strings.Cut(rest, "(SB)")
			_, name, _ = strings.Cut(strings.TrimSuffix(name, "<ABIInternal>"), "·")
			switch {
			case slices.Contains(jumps, name):
				instead = jump
			case slices.Contains(refused, name):
				instead = enosys
			default:
				instead = call
			}
			found[name] = true
			continue
		}
		code, _, _ := strings.Cut(line, "//")
		if strings.TrimSpace(code) == "SYSCALL" {
			lines[i] = "\t" + instead
		} else if strings.Contains(code, "SYSCALL") && !strings.Contains(code, "$SYS_") && strings.TrimSpace(code) != "" && !strings.HasPrefix(code, "#") {
			return nil, fmt.Errorf("line %d: SYSCALL not alone: %q", i+1, line)
		}
	}
	for _, name := range slices.Concat(jumps, refused) {
		if !found[name] {
			return nil, fmt.Errorf("no function %s", name)
		}
	}
	return []byte(strings.Join(lines, "\n")), nil
}

// redirected are assembly functions of package syscall that jump to Go functions.
// golang.org/x/sys/unix calls them too.
var redirected = []struct{ head, to string }{
	{"TEXT ·rawSyscallNoError(SB),NOSPLIT,$0-48\n", "pithRawSyscallNoError"},
	{"TEXT ·gettimeofday(SB),NOSPLIT,$0-16\n", "pithGettimeofday"},
}

func (t tree) redirectAssembly() error {
	const name = "src/syscall/asm_linux_amd64.s"
	for _, f := range redirected {
		before, body, ok := bytes.Cut(t[name], []byte(f.head))
		if !ok {
			return fmt.Errorf("%s has no %q", name, f.head)
		}
		_, after, _ := bytes.Cut(body, []byte("\n\n"))
		t[name] = bytes.Join([][]byte{before, []byte(f.head), []byte("\tJMP\t·" + f.to + "(SB)\n\n"), after}, nil)
	}
	return nil
}
