// Package seccomp compiles filters for seccomp(2). A filter is a classic BPF program
// that the kernel runs before each system call of a thread. Its source is a list of
// permitted system calls with conditions on their arguments. Package jail makes the
// lists from tables and loads the filters.
package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Call is a system call that a filter permits. If a number has several Calls, the
// filter permits the call when one of them matches.
type Call struct {
	Number uint32
	Rules  []Rule // all must hold
}

// Answer is a system call that fails with an error before the kernel executes it.
type Answer struct {
	Number uint32
	Errno  unix.Errno
}

// Rule is a condition on one argument. In and Equal return Rules.
type Rule struct {
	arg         int
	isIn        bool
	ranges      []Range // In: ranges of the low 32 bits
	mask, value uint64  // Equal
}

// Range is a range of numbers that includes both ends. It is empty if Last is below
// First.
type Range struct{ First, Last uint32 }

// One returns the range of a single number.
func One(n uint32) Range { return Range{n, n} }

// In returns a Rule that holds if argument arg (0 to 5) is in one of the ranges. It
// compares only the low 32 bits, as the kernel does for an argument of type int,
// such as a descriptor.
func In(arg int, ranges ...Range) Rule {
	return Rule{arg: arg, isIn: true, ranges: ranges}
}

// Equal returns a Rule that holds if argument arg (0 to 5), masked with mask, equals
// value. It compares all 64 bits.
func Equal(arg int, mask, value uint64) Rule { return Rule{arg: arg, mask: mask, value: value} }

// Offsets in struct seccomp_data (seccomp(2)), the input of a filter.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// Compile returns the filter. A system call on neither list kills the process. The
// filter compares the numbers in the order of calls, so frequent calls come first.
func Compile(calls []Call, answers []Answer) ([]unix.SockFilter, error) {
	var a assembler
	kill := a.label()
	native, ours := a.label(), a.label()
	a.load(offArch)
	a.jump(unix.BPF_JEQ, auditArch, native, kill)
	a.place(native)
	a.load(offNumber)
	a.jump(unix.BPF_JGE, firstForeign, kill, ours)
	a.place(kill)
	a.ret(unix.SECCOMP_RET_KILL_PROCESS)
	a.place(ours)
	for _, c := range byNumber(calls) {
		this, next := a.label(), a.label()
		a.jump(unix.BPF_JEQ, c[0].Number, this, next)
		a.place(this)
		a.call(c)
		a.place(next)
	}
	for _, w := range answers {
		this, next := a.label(), a.label()
		a.jump(unix.BPF_JEQ, w.Number, this, next)
		a.place(this)
		a.ret(unix.SECCOMP_RET_ERRNO | uint32(w.Errno))
		a.place(next)
	}
	a.ret(unix.SECCOMP_RET_KILL_PROCESS)
	return a.link()
}

// byNumber groups calls by number. The groups are in the order of first occurrence.
func byNumber(calls []Call) (groups [][]Call) {
	at := map[uint32]int{}
	for _, c := range calls {
		i, ok := at[c.Number]
		if !ok {
			i = len(groups)
			at[c.Number] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], c)
	}
	return groups
}

// call appends the part of the filter that checks the arguments for one system call
// number. Each path through this part ends the filter, so the part may overwrite the
// accumulator.
func (a *assembler) call(calls []Call) {
	for _, c := range calls {
		other := a.label()
		for _, r := range c.Rules {
			if r.isIn {
				a.in(r, other)
				continue
			}
			a.equal(offArgs+8*r.arg, uint32(r.mask), uint32(r.value), other)
			a.equal(offArgs+8*r.arg+4, uint32(r.mask>>32), uint32(r.value>>32), other)
		}
		a.ret(unix.SECCOMP_RET_ALLOW)
		a.place(other)
		if len(c.Rules) == 0 {
			return // it matches always, so later Calls are unreachable
		}
	}
	a.ret(unix.SECCOMP_RET_KILL_PROCESS)
}

func (a *assembler) in(r Rule, fails label) {
	holds := a.label()
	a.load(offArgs + 8*r.arg)
	for _, x := range r.ranges {
		next := a.label()
		switch {
		case x.Last < x.First:
		case x.Last == x.First:
			a.jump(unix.BPF_JEQ, x.First, holds, next)
		default:
			above := a.label()
			a.jump(unix.BPF_JGE, x.First, above, next)
			a.place(above)
			a.jump(unix.BPF_JGT, x.Last, next, holds)
		}
		a.place(next)
	}
	a.always(fails)
	a.place(holds)
}

func (a *assembler) equal(offset int, mask, value uint32, fails label) {
	if mask == 0 {
		return
	}
	holds := a.label()
	a.load(offset)
	if mask != ^uint32(0) {
		a.and(mask)
	}
	a.jump(unix.BPF_JEQ, value, holds, fails)
	a.place(holds)
}

// assembler collects BPF instructions, which jump to labels.
type assembler struct {
	code   []unix.SockFilter
	jumps  []jump
	places []int // by label: index of the instruction, or -1
}

type label int

type jump struct {
	at          int
	conditional bool
	yes, no     label
}

func (a *assembler) label() label {
	a.places = append(a.places, -1)
	return label(len(a.places) - 1)
}

func (a *assembler) place(l label) { a.places[l] = len(a.code) }

func (a *assembler) emit(code int, k uint32) {
	a.code = append(a.code, unix.SockFilter{Code: uint16(code), K: k})
}

func (a *assembler) load(offset int) {
	a.emit(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, uint32(offset))
}

func (a *assembler) and(mask uint32) { a.emit(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask) }

func (a *assembler) ret(action uint32) { a.emit(unix.BPF_RET|unix.BPF_K, action) }

// jump compares the accumulator with k.
func (a *assembler) jump(test int, k uint32, yes, no label) {
	a.jumps = append(a.jumps, jump{at: len(a.code), conditional: true, yes: yes, no: no})
	a.emit(unix.BPF_JMP|unix.BPF_K|test, k)
}

func (a *assembler) always(to label) {
	a.jumps = append(a.jumps, jump{at: len(a.code), yes: to})
	a.emit(unix.BPF_JMP|unix.BPF_JA, 0)
}

// farthest is the largest number of instructions that a conditional jump can skip.
// Unconditional jumps have no such limit.
const farthest = 255

// link resolves the labels. All jumps go forward. If the target of a conditional jump
// is too far away, link inserts unconditional jumps behind it.
func (a *assembler) link() ([]unix.SockFilter, error) {
	for {
		i := slices.IndexFunc(a.jumps, func(j jump) bool {
			return j.conditional && max(a.distance(j.at, j.yes), a.distance(j.at, j.no)) > farthest
		})
		if i < 0 {
			break
		}
		a.lengthen(i)
	}
	if len(a.code) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("seccomp filter: %d instructions, more than %d", len(a.code), unix.BPF_MAXINSNS)
	}
	for _, j := range a.jumps {
		if j.conditional {
			a.code[j.at].Jt, a.code[j.at].Jf = uint8(a.distance(j.at, j.yes)), uint8(a.distance(j.at, j.no))
		} else {
			a.code[j.at].K = uint32(a.distance(j.at, j.yes))
		}
	}
	return a.code, nil
}

// distance returns the number of instructions between the instruction at and the
// label l.
func (a *assembler) distance(at int, l label) int { return a.places[l] - at - 1 }

// lengthen inserts two unconditional jumps behind the conditional jump i.
func (a *assembler) lengthen(i int) {
	at := a.jumps[i].at
	always := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA}
	a.code = slices.Insert(a.code, at+1, always, always)
	for k := range a.places {
		if a.places[k] > at {
			a.places[k] += 2
		}
	}
	for k := range a.jumps {
		if a.jumps[k].at > at {
			a.jumps[k].at += 2
		}
	}
	yes, no := a.jumps[i].yes, a.jumps[i].no
	for k, to := range []label{yes, no} {
		near := a.label()
		a.places[near] = at + 1 + k
		a.jumps = append(a.jumps, jump{at: at + 1 + k, yes: to})
		if k == 0 {
			a.jumps[i].yes = near
		} else {
			a.jumps[i].no = near
		}
	}
}
