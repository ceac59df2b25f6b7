//go:build pith

package runtime

import (
	"slices"
	"testing"
	"unsafe"
)

// Signals that the tests send.
const (
	sigUsr1, sigUsr2 = _SIGUSR1, _SIGUSR2
	sigTerm          = 15
	bitUsr1, bitUsr2 = 1 << (_SIGUSR1 - 1), 1 << (_SIGUSR2 - 1)
)

func (p *program) kill(tid, sig uintptr) uintptr { return p.call(nrTgkill, 1, tid, sig) }

func TestSignalReachesItsHandler(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var got []uintptr
			p.handler(sigUsr1, 0, 0, func(h *program, sig signal) {
				got = append(got, sig.number, uintptr(sig.info.si_signo), h.call(nrGettid))
				want(s, "mask in the handler", h.mask(_SIG_BLOCK, 0), bitUsr1)
			})
			want(s, "kill itself", p.kill(1, sigUsr1), 0)
			if !slices.Equal(got, []uintptr{sigUsr1, sigUsr1, 1}) {
				t.Errorf("handler got signal, si_signo, thread %v", got)
			}
			want(s, "mask afterwards", p.mask(_SIG_BLOCK, 0), 0)
			want(s, "kill with signal 0", p.kill(1, 0), 0)
			want(s, "kill with signal 65", p.kill(1, 65), errno(_EINVAL))
			want(s, "kill no thread", p.kill(9, sigUsr1), errno(_ESRCH))
			want(s, "handlers run", len(got), 3)
		})
	})
}

// A thread that runs on another vCPU is interrupted; the thread layer loses nothing
// of its registers (program.do checks them).
func TestSignalInterruptsARunningThread(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			got, ready := 0, false
			p.handler(sigUsr1, 0, 0, func(h *program, sig signal) { h.step(); got++; h.step() })
			other := p.clone(func(p *program) { ready = true; p.spin(func() bool { return got == 3 }) })
			p.spin(func() bool { return ready })
			for n := range 3 {
				from := s.now()
				want(s, "kill", p.kill(other, sigUsr1), 0)
				p.spin(func() bool { return got == n+1 })
				if took := s.now() - from; took > vmSlice/2 {
					t.Errorf("the handler ran after %d ns", took)
				}
			}
			p.await(other, vmDead)
			want(s, "kill a dead thread", p.kill(other, sigUsr1), errno(_ESRCH))
		})
	})
}

func TestSignalEndsAWait(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		var word uint32
		var events [4]epollEvent
		for name, wait := range map[string]func(p *program) uintptr{
			"futex":                 func(p *program) uintptr { return p.futexWait(&word, 0, 0) },
			"futex with a deadline": func(p *program) uintptr { return p.futexWait(&word, 0, 1e9) },
			"sleep":                 func(p *program) uintptr { return p.sleep(1e9) },
			"epoll":                 func(p *program) uintptr { return p.epollWait(events[:], -1) },
			"epoll with a deadline": func(p *program) uintptr { return p.epollWait(events[:], 1000) },
		} {
			s := newSim(t, 2, uint64(s.seed.Int64()|1))
			s.run(func(p *program) {
				got, ended := 0, false
				p.handler(sigUsr1, 0, 0, func(*program, signal) { got++ })
				waiter := p.clone(func(p *program) {
					want(s, name, wait(p), errno(_EINTR))
					want(s, name+": handlers run", got, 1)
					ended = true
				})
				waits := func() bool { return vmThreadOf(int32(waiter)).state >= vmFutexWait }
				p.spin(waits)
				p.kill(waiter, sigUsr1)
				p.spin(func() bool { return ended })
				if now := s.now(); now > 500_000_000 {
					t.Errorf("%s: the wait ended after %d ns", name, now)
				}
			})
		}
	})
}

// A signal that comes before a wait begins must end it too: the vCPU has taken it in
// by then, and nothing else would wake the thread.
func TestSignalBeforeAWait(t *testing.T) {
	for _, state := range []uint32{vmFutexWait, vmSleep, vmPollWait} {
		s := newSim(t, 1, 1)
		s.run(func(p *program) {
			p.handler(sigUsr1, 0, 0, func(*program, signal) {})
			p.t.pending = bitUsr1 // as if it had come on the way to the call
			var word uint32
			var events [1]epollEvent
			got := uintptr(0)
			switch state {
			case vmFutexWait:
				got = p.do(request{num: nrFutex}, at(p, &word), futexWait, 0, 0)
			case vmSleep:
				ts := timespec{tv_sec: 1}
				got = p.do(request{num: nrNanosleep}, at(p, &ts))
			case vmPollWait:
				minus := -1
				got = p.do(request{num: nrEpollPwait}, vmFDEpoll, at(p, &events), 1, uintptr(minus))
			}
			want(s, "wait", got, errno(_EINTR))
		})
	}
}

func TestMaskedSignalStaysPending(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var got []uintptr
			note := func(h *program, sig signal) { got = append(got, sig.number) }
			p.handler(sigUsr1, 0, 0, note)
			p.handler(sigUsr2, 0, 0, note)
			p.mask(_SIG_BLOCK, bitUsr1|bitUsr2|1<<(_SIGKILL-1)|1<<(_SIGSTOP-1))
			want(s, "mask", p.mask(_SIG_BLOCK, 0), bitUsr1|bitUsr2)
			for range 3 {
				p.kill(1, sigUsr2)
				p.kill(1, sigUsr1)
				p.step()
			}
			var word uint32
			want(s, "a wait that no masked signal ends", p.futexWait(&word, 0, 1_000_000), errno(_ETIMEDOUT))
			want(s, "handlers run while masked", len(got), 0)
			p.mask(_SIG_UNBLOCK, bitUsr2)
			if !slices.Equal(got, []uintptr{sigUsr2}) {
				t.Errorf("unmasked SIGUSR2, handled %v", got)
			}
			p.mask(_SIG_SETMASK, 0)
			if !slices.Equal(got, []uintptr{sigUsr2, sigUsr1}) {
				t.Errorf("unmasked both, handled %v", got)
			}
			want(s, "unknown change of the mask", p.call(nrSigprocmask, 5, at(p, new(uint64)), 0), errno(_EINVAL))
		})
	})
}

// A signal sent to a masked thread that waits does not end its wait.
func TestMaskedSignalEndsNoWait(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var word uint32
			got, ended := 0, false
			p.handler(sigUsr1, 0, 0, func(*program, signal) { got++ })
			waiter := p.clone(func(p *program) {
				p.mask(_SIG_BLOCK, bitUsr1)
				want(s, "wait", p.futexWait(&word, 0, 0), 0)
				want(s, "handlers run while masked", got, 0)
				p.mask(_SIG_SETMASK, 0)
				want(s, "handlers run", got, 1)
				ended = true
			})
			p.await(waiter, vmFutexWait)
			p.kill(waiter, sigUsr1)
			p.step()
			want(s, "threads to wake", p.futexWake(&word, 1), 1)
			p.spin(func() bool { return ended })
		})
	})
}

// While a handler runs, its own signal and those of its mask wait; with SA_NODEFER
// its own does not.
func TestHandlersMask(t *testing.T) {
	for _, c := range []struct {
		flags uintptr
		mask  uint64
		want  []int
	}{
		{0, 0, []int{1, 2, -2, -1, 1, -1}},
		{0, bitUsr2, []int{1, -1, 1, -1, 2, -2}},
		{vmSANoDefer, bitUsr2, []int{1, 1, -1, -1, 2, -2}},
	} {
		seeds(t, 1, func(s *sim) {
			s.run(func(p *program) {
				var got []int
				first := true
				p.handler(sigUsr2, 0, 0, func(*program, signal) { got = append(got, 2, -2) })
				p.handler(sigUsr1, c.flags, c.mask, func(h *program, _ signal) {
					got = append(got, 1)
					if first {
						first = false
						h.kill(1, sigUsr2)
						h.kill(1, sigUsr1)
					}
					got = append(got, -1)
				})
				p.kill(1, sigUsr1)
				p.step()
				if !slices.Equal(got, c.want) {
					t.Errorf("flags %#x, mask %#x: handlers ran as %v instead of %v", c.flags, c.mask, got, c.want)
				}
			})
		})
	}
}

func TestAlternateStack(t *testing.T) {
	seeds(t, 1, func(s *sim) {
		s.run(func(p *program) {
			alt := make([]byte, 32<<10)
			in := func(stack []byte, sp uintptr) bool { return top(stack)-uintptr(len(stack)) <= sp && sp < top(stack) }
			var onAlt, nested []bool
			p.handler(sigUsr1, vmSAOnStack, 0, func(h *program, sig signal) {
				onAlt = append(onAlt, in(alt, sig.sp))
				h.kill(1, sigUsr2)
			})
			depth := uintptr(0)
			p.handler(sigUsr2, vmSAOnStack, 0, func(h *program, sig signal) {
				nested = append(nested, in(alt, sig.sp))
				depth = top(alt) - sig.sp
			})
			var old stackt
			p.kill(1, sigUsr1)
			p.call(nrSigaltstack, 0, at(p, &old))
			want(s, "flags without a stack", old.ss_flags, _SS_DISABLE)
			set := stackt{ss_sp: unsafe.SliceData(alt), ss_size: uintptr(len(alt))}
			p.call(nrSigaltstack, at(p, &set), 0)
			p.kill(1, sigUsr1)
			if depth < 2*uintptr(unsafe.Sizeof(vmSigframe{})) {
				t.Errorf("the nested frame is %d bytes below the stack's top, upon the first one", depth)
			}
			p.call(nrSigaltstack, 0, at(p, &old))
			want(s, "stack", old.ss_sp, set.ss_sp)
			p.call(nrSigaltstack, at(p, &stackt{ss_flags: _SS_DISABLE}), 0)
			p.kill(1, sigUsr1)
			if want := []bool{false, true, false}; !slices.Equal(onAlt, want) || !slices.Equal(nested, want) {
				t.Errorf("handlers ran on the alternate stack: %v, nested %v; want %v", onAlt, nested, want)
			}
			p.handler(sigUsr2, 0, 0, func(h *program, sig signal) { want(s, "without SA_ONSTACK on the stack", in(p.stack, sig.sp), true) })
			p.call(nrSigaltstack, at(p, &set), 0)
			p.kill(1, sigUsr2)
		})
	})
}

// A signal to the instance goes to the first thread that does not mask it.
func TestSignalToTheInstance(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			taker := uintptr(0)
			p.handler(sigUsr1, 0, 0, func(h *program, _ signal) { taker = h.call(nrGettid) })
			p.call(nrKill, 1, sigUsr1)
			want(s, "taken by", taker, 1)
			p.mask(_SIG_BLOCK, bitUsr1)
			var masked, open uint32
			second := p.clone(func(p *program) { p.futexWait(&masked, 0, 0) }) // inherits the mask
			p.await(second, vmFutexWait)
			p.mask(_SIG_SETMASK, 0)
			third := p.clone(func(p *program) { p.futexWait(&open, 0, 0) })
			p.await(third, vmFutexWait)
			p.mask(_SIG_BLOCK, bitUsr1)
			taker = 0
			p.call(nrKill, 1, sigUsr1)
			p.spin(func() bool { return taker != 0 })
			want(s, "taken by", taker, third)
		})
	})
}

func TestIgnoredAndDefaultSignals(t *testing.T) {
	s := newSim(t, 2, 1)
	code := s.run(func(p *program) {
		p.action(sigUsr1, &vmSigaction{handler: vmSigIgn})
		for _, sig := range []uintptr{sigUsr1, _SIGCHLD, _SIGCONT, _SIGURG, _SIGWINCH} {
			p.kill(1, sig)
			p.step()
		}
		want(s, "signal without number", p.call(nrSigaction, 0, 0, 0, 8), errno(_EINVAL))
		p.kill(1, sigTerm)
		t.Error("the thread went on after SIGTERM")
	})
	want(s, "exit code", code, 128+sigTerm)
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name                  string
		vector, code, address uintptr
		signal                uintptr
		si                    int32
		at                    uint64
	}{
		{"not mapped", vectorPageFault, 4, 0x1234, _SIGSEGV, _SEGV_MAPERR, 0x1234},
		{"no access", vectorPageFault, 7 | faultMapped, 0x5678, _SIGSEGV, _SEGV_ACCERR, 0x5678},
		{"not canonical", vectorPageFault, 4, 1 << 63, _SIGSEGV, _SI_KERNEL, 0},
		{"division", 0, 0, 0, _SIGFPE, _FPE_INTDIV, 0},
		{"breakpoint", 3, 0, 0, _SIGTRAP, _SI_KERNEL, 0},
		{"protection", 13, 0, 0, _SIGSEGV, _SI_KERNEL, 0},
	} {
		s := newSim(t, 1, 1)
		s.run(func(p *program) {
			handled := false
			p.handler(c.signal, vmSAOnStack, 0, func(h *program, sig signal) {
				handled = true
				m := (*sigcontext)(unsafe.Pointer(&sig.context.uc_mcontext))
				want(s, c.name+": si_code", sig.info.si_code, c.si)
				if c.vector != 0 {
					want(s, c.name+": si_addr", sig.info.si_addr, c.at)
				}
				want(s, c.name+": trap number", m.trapno, uint64(c.vector))
				want(s, c.name+": instruction", m.rip, uint64(p.ip))
			})
			p.kill(1, 0)
			p.fault(c.vector, c.code, c.address)
			want(s, c.name+": handled", handled, true)
		})
	}
}

// A fault that its thread masks or does not handle ends the instance.
func TestUnhandledFault(t *testing.T) {
	for name, prepare := range map[string]func(p *program){
		"no handler": func(p *program) {},
		"ignored":    func(p *program) { p.action(_SIGSEGV, &vmSigaction{handler: vmSigIgn}) },
		"masked": func(p *program) {
			p.handler(_SIGSEGV, 0, 0, func(*program, signal) { t.Error("a masked fault was handled") })
			p.mask(_SIG_BLOCK, 1<<(_SIGSEGV-1))
		},
	} {
		s := newSim(t, 2, 1)
		code := s.run(func(p *program) { prepare(p); p.fault(vectorPageFault, 4, 0x1234) })
		want(s, name+": exit code", code, 128+_SIGSEGV)
	}
}

// A handler can have its thread continue elsewhere, as the runtime's does.
func TestHandlerChangesTheContext(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(func(p *program) {
		p.handler(sigUsr1, 0, 0, func(h *program, sig signal) {
			m := (*sigcontext)(unsafe.Pointer(&sig.context.uc_mcontext))
			want(s, "result of kill", m.rax, 0)
			m.rax = 77
			*(*uint64)(unsafe.Pointer(&sig.context.uc_sigmask)) = bitUsr2
		})
		want(s, "result of kill", p.kill(1, sigUsr1), 77)
		want(s, "mask", p.mask(_SIG_BLOCK, 0), bitUsr2)

	})
}
