//go:build pith

package runtime

import (
	"slices"
	"testing"
	"unsafe"
)

// text reads the text at p, which ends with a zero byte.
func text(p uintptr) string {
	n := uintptr(0)
	for load8(p+n) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(unsafe.Pointer(p)), n))
}

// texts reads addresses from p on until a zero, and returns their texts and what
// follows.
func texts(p uintptr) (list []string, next uintptr) {
	for ; load64(p) != 0; p += 8 {
		list = append(list, text(load64(p)))
	}
	return list, p + 8
}

// The first thread finds arguments, environment and auxiliary vector on its stack, as
// Linux leaves them. The image's own parameters come before the monitor's.
func TestFirstStack(t *testing.T) {
	for _, c := range []struct {
		line, own string
		args, env []string
	}{
		{"", "", []string{"pith"}, nil},
		{"arg=a arg=two%20words arg= env=X=1", "arg=b env=Y=2", []string{"a", "two words", ""}, []string{"Y=2", "X=1"}},
		{"env=Z=%c3%a9%", "\targ=own\n arg=%3d", []string{"own", "="}, []string{"Z=é%"}},
	} {
		s := newSim(t, 1, 1)
		s.parameters(c.line + " cpus=1")
		own := []byte(c.own)
		vmSharedPage().defaults = [2]uintptr{top(own) - uintptr(len(own)), uintptr(len(own))}
		image := (*elfHeader)(unsafe.Pointer(vmSharedPage().image))
		image.phoff, image.phent, image.phnum = 64, 56, 9
		s.run(func(p *program) {
			sp := vmStackArea + vmStackSize
			want(s, "argc", load64(sp), uintptr(len(c.args)))
			args, next := texts(sp + 8)
			env, next := texts(next)
			if !slices.Equal(args, c.args) || !slices.Equal(env, c.env) {
				t.Errorf("%q: arguments %q, environment %q instead of %q, %q", c.line, args, env, c.args, c.env)
			}
			aux := map[uintptr]uintptr{}
			for ; load64(next) != 0; next += 16 {
				aux[load64(next)] = load64(next + 8)
			}
			if random := aux[25]; random%16 != 0 || load64(random) == 0 {
				t.Errorf("AT_RANDOM is %#x", random)
			}
			delete(aux, 25)
			for kind, v := range map[uintptr]uintptr{3: vmSharedPage().image + 64, 4: 56, 5: 9, 6: pageSize4, 23: 0} {
				want(s, "auxiliary vector", aux[kind], v)
			}
			want(s, "entries of the auxiliary vector", len(aux), 5)
		})
	}
}

func TestNumberOfCPUs(t *testing.T) {
	for line, n := range map[string]uintptr{"": 4, "cpus=2": 2, "cpus=9": 4, "other=3 cpus=1 ": 1, "cpus=3x": 3} {
		s := newSim(t, 4, 1)
		s.parameters(line)
		s.run(func(p *program) { p.sleep(1_000_000) })
		want(s, "vCPUs with parameters "+line, vm.ncpus, n)
		want(s, "vCPUs started with parameters "+line, s.calls[callStart], int(n)-1)
	}
}
