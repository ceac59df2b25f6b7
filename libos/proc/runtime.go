//go:build pith

package proc

import (
	"internal/cpu"
	_ "unsafe" // for linkname
)

// arguments and environment return what the program was started with.

//go:linkname arguments os.runtime_args
func arguments() []string

//go:linkname environment syscall.runtime_envs
func environment() []string

// processor returns the CPU's name.
func processor() string { return cpu.Name() }

// features returns more flags for /proc/cpuinfo, each after a space.
func features() string {
	s := ""
	for _, f := range []struct {
		has  bool
		name string
	}{
		{cpu.X86.HasAES, "aes"}, {cpu.X86.HasADX, "adx"}, {cpu.X86.HasAVX, "avx"}, {cpu.X86.HasAVX2, "avx2"},
		{cpu.X86.HasBMI1, "bmi1"}, {cpu.X86.HasBMI2, "bmi2"}, {cpu.X86.HasERMS, "erms"}, {cpu.X86.HasFMA, "fma"},
		{cpu.X86.HasPCLMULQDQ, "pclmulqdq"}, {cpu.X86.HasPOPCNT, "popcnt"}, {cpu.X86.HasRDTSCP, "rdtscp"},
		{cpu.X86.HasSSE3, "pni"}, {cpu.X86.HasSSSE3, "ssse3"}, {cpu.X86.HasSSE41, "sse4_1"}, {cpu.X86.HasSSE42, "sse4_2"},
	} {
		if f.has {
			s += " " + f.name
		}
	}
	return s
}
