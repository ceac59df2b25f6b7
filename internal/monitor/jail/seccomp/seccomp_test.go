package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	number, arch uint32
	args         [6]uint64
}

// run interprets a filter as the kernel does and returns its action. It knows the
// instructions that Compile uses.
func run(t *testing.T, prog []unix.SockFilter, d data) uint32 {
	t.Helper()
	var mem [64]byte
	binary.LittleEndian.PutUint32(mem[offNumber:], d.number)
	binary.LittleEndian.PutUint32(mem[offArch:], d.arch)
	for i, arg := range d.args {
		binary.LittleEndian.PutUint64(mem[offArgs+8*i:], arg)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		branch := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(mem[in.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ:
			branch(acc == in.K)
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JGE:
			branch(acc >= in.K)
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JGT:
			branch(acc > in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: code %#x is not known", pc, in.Code)
		}
	}
	t.Fatal("the filter has no end")
	return 0
}

func TestFilterDecides(t *testing.T) {
	const (
		allow = unix.SECCOMP_RET_ALLOW
		kill  = unix.SECCOMP_RET_KILL_PROCESS
		eintr = unix.SECCOMP_RET_ERRNO | uint32(unix.EINTR)
		x64   = unix.AUDIT_ARCH_X86_64
	)
	prog, err := Compile([]Call{
		{Number: 24},
		{Number: 0, Rules: []Rule{In(0, One(0), Range{4, 7}, Range{9, 8}, Range{20, 30})}},
		{Number: 10, Rules: []Rule{Equal(2, ^uint64(3), 0)}},
		{Number: 322, Rules: []Rule{In(0, One(9)), Equal(1, ^uint64(0), 0xc000001000), Equal(4, ^uint64(0), 0x1000)}},
		{Number: 288, Rules: []Rule{In(0, Range{8, 7})}},
		{Number: 3, Rules: []Rule{In(0)}},
	}, []Answer{{219, unix.EINTR}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		data data
		want uint32
	}{
		{"unconditional", data{24, x64, [6]uint64{}}, allow},
		{"unknown call", data{59, x64, [6]uint64{}}, kill},
		{"other architecture", data{24, unix.AUDIT_ARCH_I386, [6]uint64{}}, kill},
		{"x32", data{24 | firstForeign, x64, [6]uint64{}}, kill},
		{"answered", data{219, x64, [6]uint64{}}, eintr},
		{"single number", data{0, x64, [6]uint64{0}}, allow},
		{"below a range", data{0, x64, [6]uint64{3}}, kill},
		{"first of a range", data{0, x64, [6]uint64{4}}, allow},
		{"last of a range", data{0, x64, [6]uint64{7}}, allow},
		{"between ranges", data{0, x64, [6]uint64{8}}, kill},
		{"inside the last range", data{0, x64, [6]uint64{25}}, allow},
		{"above all ranges", data{0, x64, [6]uint64{31}}, kill},
		{"an int's upper half is not looked at", data{0, x64, [6]uint64{1<<32 | 5}}, allow},
		{"empty range", data{288, x64, [6]uint64{8}}, kill},
		{"no range", data{3, x64, [6]uint64{}}, kill},
		{"bits outside the mask are free", data{10, x64, [6]uint64{0, 0, 3}}, allow},
		{"bit in the mask's lower half", data{10, x64, [6]uint64{0, 0, 4}}, kill},
		{"bit in the mask's upper half", data{10, x64, [6]uint64{0, 0, 1 << 40}}, kill},
		{"all rules hold", data{322, x64, [6]uint64{9, 0xc000001000, 7, 7, 0x1000}}, allow},
		{"first rule fails", data{322, x64, [6]uint64{8, 0xc000001000, 7, 7, 0x1000}}, kill},
		{"lower half differs", data{322, x64, [6]uint64{9, 0xc000002000, 7, 7, 0x1000}}, kill},
		{"upper half differs", data{322, x64, [6]uint64{9, 0xc100001000, 7, 7, 0x1000}}, kill},
		{"last rule fails", data{322, x64, [6]uint64{9, 0xc000001000, 7, 7, 0}}, kill},
	} {
		if got := run(t, prog, test.data); got != test.want {
			t.Errorf("%s: action %#x, want %#x", test.name, got, test.want)
		}
	}
}

func TestOneOfSeveralCallsLetsThrough(t *testing.T) {
	prog, err := Compile([]Call{
		{Number: 16, Rules: []Rule{In(0, Range{10, 13}), In(1, One(0xae80))}},
		{Number: 1, Rules: []Rule{In(0, One(1))}},
		{Number: 16, Rules: []Rule{In(0, One(9)), Equal(1, ^uint64(0), 0x4008ae6a)}},
		{Number: 1},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		number  uint32
		args    [6]uint64
		allowed bool
	}{
		{16, [6]uint64{10, 0xae80}, true},
		{16, [6]uint64{9, 0x4008ae6a}, true},
		{16, [6]uint64{9, 0xae80}, false},
		{16, [6]uint64{10, 0x4008ae6a}, false},
		{16, [6]uint64{8, 0xae80}, false},
		{1, [6]uint64{1}, true},
		{1, [6]uint64{7}, true},
	} {
		if got := run(t, prog, data{test.number, unix.AUDIT_ARCH_X86_64, test.args}); (got == unix.SECCOMP_RET_ALLOW) != test.allowed {
			t.Errorf("call %d with %#x: action %#x", test.number, test.args, got)
		}
	}
}

func TestJumpsAreAsLongAsTheyMustBe(t *testing.T) {
	many := make([]Range, 500)
	for i := range many {
		many[i] = Range{uint32(4 * i), uint32(4*i + 1)}
	}
	prog, err := Compile([]Call{
		{Number: 0, Rules: []Rule{In(0, many...), Equal(1, ^uint64(0), 1<<40|5)}},
		{Number: 0, Rules: []Rule{Equal(1, ^uint64(0), 7), In(0, many...)}},
		{Number: 3},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, second := range []uint64{1<<40 | 5, 7, 5} {
		for fd := range uint64(2010) {
			want := uint32(unix.SECCOMP_RET_ALLOW)
			if fd%4 > 1 || fd >= 2000 || second == 5 {
				want = unix.SECCOMP_RET_KILL_PROCESS
			}
			if got := run(t, prog, data{0, unix.AUDIT_ARCH_X86_64, [6]uint64{fd, second}}); got != want {
				t.Fatalf("arguments %d, %#x: action %#x, want %#x", fd, second, got, want)
			}
		}
	}
	if got := run(t, prog, data{3, unix.AUDIT_ARCH_X86_64, [6]uint64{}}); got != unix.SECCOMP_RET_ALLOW {
		t.Errorf("the call behind: action %#x", got)
	}
}

func TestTooLongFilterIsAnError(t *testing.T) {
	many := make([]Range, unix.BPF_MAXINSNS)
	for i := range many {
		many[i] = One(uint32(2 * i))
	}
	if _, err := Compile([]Call{{Number: 0, Rules: []Rule{In(0, many...)}}}, nil); err == nil {
		t.Fatal("compiled")
	}
}
