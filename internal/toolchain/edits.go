package toolchain

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// jitterEntropy came with Go 1.26.
const jitterEntropy = "crypto/internal/fips140/drbg/entropy_fips140.go"

// goEdits are the edits of Go files, by path below GOROOT/src. std/ defines the functions
// that they remove or rename.
var goEdits = map[string]func(*goSource) error{
	"runtime/os_linux.go": func(s *goSource) error {
		return errors.Join(
			s.rename("osinit", "linuxosinit"),
			s.rename("goenvs", "linuxgoenvs"),
			s.remove("getCPUCount", "setProcessCPUProfiler", "setThreadCPUProfiler", "validSIGPROF"),
			s.replace("type mOS struct {", "type mOS struct {\n\tpithprof pithprofm\n"))
	},
	"runtime/mem_linux.go": func(s *goSource) error {
		err := errors.Join(s.rename("sysUnusedOS", "linuxsysUnusedOS"), s.rename("sysUsedOS", "linuxsysUsedOS"))
		if bytes.Contains(s.data, []byte("needZeroAfterSysUnusedOS")) { // since Go 1.26; earlier releases zero all memory
			err = errors.Join(err, s.remove("needZeroAfterSysUnusedOS"))
		}
		return err
	},
	"runtime/mgcpacer.go": func(s *goSource) error { return s.rename("readGOMEMLIMIT", "linuxreadGOMEMLIMIT") },
	"runtime/netpoll_epoll.go": func(s *goSource) error {
		return s.remove("netpollopen", "netpollclose", "netpollIsPollDescriptor")
	},
	"runtime/proc.go": func(s *goSource) error {
		return errors.Join(
			s.replace("if run > run0 {", "if run > run0 && (run > run0+1 || !pithasleep()) {"),
			s.replace("if len(pp.timers.heap) > 0 {", "if pithtimers(pp) {"),
			s.replace("netpoll(delay) // block", "pithpoll(delay) // block"))
	},
	"runtime/vgetrandom_linux.go": func(s *goSource) error { return s.remove("vgetrandomInit", "vgetrandom") },
	"runtime/signal_unix.go":      func(s *goSource) error { return s.remove("dieFromSignal") },
	"syscall/syscall_linux.go": func(s *goSource) error {
		return errors.Join(s.remove("RawSyscall", "RawSyscall6", "Syscall", "Syscall6",
			"AllThreadsSyscall", "AllThreadsSyscall6",
			"runtime_entersyscall", "runtime_exitsyscall"),
			// The initialiser of the variable mapper would reach mmap in every
			// program.
			s.replace("active: make(map[*byte][]byte),", ""))
	},
	"syscall/syscall_unix.go": func(s *goSource) error {
		return s.replace("m.active[p] = b", "if m.active == nil {\n\t\tm.active = make(map[*byte][]byte)\n\t}\n\tm.active[p] = b")
	},
	"syscall/exec_unix.go": func(s *goSource) error {
		return errors.Join(s.remove("Exec"), s.rename("forkExec", "linuxForkExec"))
	},
	"runtime/traceback.go": func(s *goSource) error {
		return s.replace(`return stringslite.HasPrefix(funcname(f), "runtime.")`, "return pithSystem(funcname(f))")
	},
	"runtime/heapdump.go": func(s *goSource) error {
		s.data = bytes.ReplaceAll(s.data, []byte("write(dumpfd, "), []byte("pithdumpwrite("))
		return s.remove("runtime_debug_WriteHeapDump")
	},
	"runtime/debug/garbage.go": func(s *goSource) error { return s.remove("WriteHeapDump") },
	"runtime/debug/stack.go":   func(s *goSource) error { return s.remove("SetCrashOutput") },
	"net/splice_linux.go": func(s *goSource) error {
		return s.replace("var pollSplice = poll.Splice", "var pollSplice = pithSplice")
	},
	// The replacements pass no addresses: the callers' memory may be on a stack.
	"crypto/internal/sysrand/rand.go":    func(s *goSource) error { return s.remove("urandomRead") },
	"internal/syscall/unix/getrandom.go": func(s *goSource) error { return s.remove("GetRandom") },
	// Without the directive, the socket addresses are not on the callers' stacks. Datagrams
	// then need no other goroutine (pith_still.go).
	"internal/syscall/unix/net.go": func(s *goSource) error {
		if !bytes.Contains(s.data, []byte("//go:noescape\n")) {
			return errors.New("there is no //go:noescape")
		}
		s.data = bytes.ReplaceAll(s.data, []byte("//go:noescape\n"), nil)
		return nil
	},
	// The original calls fcntl of the runtime, which does not know the program's
	// descriptors.
	"internal/syscall/unix/fcntl_unix.go": func(s *goSource) error { return s.remove("fcntl") },
	// This file has a variable of 32 MiB that only FIPS 140-3 mode uses. On Linux it has
	// no pages until its first use. In a VM the loader gives it memory.
	jitterEntropy: func(s *goSource) error {
		return errors.Join(
			s.replace("var memory entropy.ScratchBuffer", ""),
			s.replace("seed, err := entropy.Seed(&memory)", "memory := new(entropy.ScratchBuffer)\n\tseed, err := entropy.Seed(memory)"),
			s.replace("seed, err = entropy.Seed(&memory)", "seed, err = entropy.Seed(memory)"))
	},
	// Go's own tests must not assume that they can start processes. With this edit they
	// try, as on platforms without processes.
	"internal/testenv/exec.go": func(s *goSource) error {
		return s.replace(`case "wasip1", "js", "ios":`, `case "wasip1", "js", "ios", "linux":`)
	},
	// Without a go command there is no cgo.
	"internal/testenv/testenv.go": func(s *goSource) error {
		return s.replace(`panic(fmt.Sprintf("%v: %v", cmd, out))`, "return false")
	},
	// The original messages of these two files would mislead the user.
	"os/exec/lp_unix.go": func(s *goSource) error {
		return s.replace(`"executable file not found in $PATH"`,
			`"executable file not found in $PATH: a unikernel runs one program and cannot start another"`)
	},
	"plugin/plugin_stubs.go": func(s *goSource) error {
		s.data = bytes.ReplaceAll(s.data, []byte(`"plugin: not implemented"`),
			[]byte(`"plugin: a unikernel runs one program and cannot load another"`))
		return nil
	},
}

// edit adds the edited files of goroot to t.
func (t tree) edit(goroot string) error {
	read := func(name string) ([]byte, error) {
		return os.ReadFile(filepath.Join(goroot, "src", filepath.FromSlash(name)))
	}
	for name, edit := range goEdits {
		data, err := read(name)
		if name == jitterEntropy && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s := &goSource{name: name, data: data}
		if err := edit(s); err != nil {
			return err
		}
		if err := s.tidy(); err != nil {
			return err
		}
		t["src/"+name] = s.data
	}
	for _, e := range asmEdits {
		data, err := read(e.path)
		if e.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if data, err = gateCalls(data, e.jumps, e.refused); err != nil {
			return fmt.Errorf("%s: %w", e.path, err)
		}
		t["src/"+e.path] = data
	}
	if err := t.redirectCalls(goroot); err != nil {
		return err
	}
	return t.redirectAssembly()
}
