// Package seccomp compiles a list of permitted system calls, with conditions
// on their arguments, into a filter program for seccomp(2): classic BPF that
// the kernel runs before each system call of a thread. It knows nothing of what the list
// is for: package jail makes the lists from tables and loads the filters.
package seccomp

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Call is a system call that a filter lets through. Where a number is there
// several times, one of the Calls must let it through.
type Call struct {
	Number uint32
	Rules  []Rule // all must hold
}

// Answer is a system call that is not made but answered with an error.
type Answer struct {
	Number uint32
	Errno  unix.Errno
}

// Rule is a condition on one argument: In or Equal makes it.
type Rule struct {
	arg         int
	isIn        bool
	ranges      []Range // In: of the low 32 bits
	mask, value uint64  // Equal
}

// Range is a range of numbers, its ends included. It is empty when Last is
// below First.
type Range struct{ First, Last uint32 }

// One is the range of a single number.
func One(n uint32) Range { return Range{n, n} }

// In holds when argument arg (0 to 5) is in one of the ranges. It looks at the
// low 32 bits only, as the kernel does for an argument of type int: a
// descriptor, a command.
func In(arg int, ranges ...Range) Rule {
	return Rule{arg: arg, isIn: true, ranges: ranges}
}

// Equal holds when the bits of argument arg that are set in mask, of all 64,
// are those of value.
func Equal(arg int, mask, value uint64) Rule { return Rule{arg: arg, mask: mask, value: value} }

// Offsets in struct seccomp_data (seccomp(2)), which is what a filter reads.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// Compile makes the filter. A call that is on neither list kills the process.
// Calls are looked for in their order, so frequent ones belong in front.
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

// byNumber groups calls, in the order of their first ones.
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

// call is the part of the filter that checks the arguments of the calls of one
// number. It leaves that in the accumulator only when it does not return.
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
			return // nothing is left for the others
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

// assembler collects BPF instructions whose jumps go to labels.
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

// farthest is how many instructions a conditional jump skips at most; others
// have no limit.
const farthest = 255

// link fills in the jumps, which go forward only. A conditional jump that goes
// too far becomes one over two others.
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

// distance is how many instructions are between one and a label.
func (a *assembler) distance(at int, l label) int { return a.places[l] - at - 1 }

// lengthen puts two unconditional jumps behind the jump i.
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
