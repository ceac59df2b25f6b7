package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// tinyTable returns a table of functions of 16 bytes each.
func tinyTable(t testing.TB, names ...string) []byte {
	size := binary.Size(tableHeader{})
	h := tableHeader{Magic: tableMagic, MinLC: 1, Word: 8, Functions: uint64(len(names)), Names: uint64(size)}
	text := strings.Join(names, "\x00") + "\x00"
	h.FunctionsOff = uint64(size + len(text))
	table, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil {
		t.Fatal(err)
	}
	table = append(table, text...)
	records := make([]byte, len(names)*tableEntry+4, len(names)*(tableEntry+recordSize)+4)
	name := uint32(0)
	for i, n := range names {
		binary.LittleEndian.PutUint32(records[i*tableEntry:], uint32(16*i))
		binary.LittleEndian.PutUint32(records[i*tableEntry+4:], uint32(len(records)))
		binary.LittleEndian.PutUint32(records[(i+1)*tableEntry:], uint32(16*i+16))
		record := make([]byte, recordSize)
		binary.LittleEndian.PutUint32(record, uint32(16*i))
		binary.LittleEndian.PutUint32(record[recordName:], name)
		record[recordFlag] = flagAssembly
		records = append(records, record...)
		name += uint32(len(n)) + 1
	}
	return append(table, records...)
}

func TestTableOfFunctionsIsReadOnlyWhenItIsWhole(t *testing.T) {
	whole := tinyTable(t, "a.F", "b.G")
	want := []function{{"a.F", 0x1000, 16, true}, {"b.G", 0x1010, 16, true}}
	if got, err := readFunctions(whole, 0x1000, 32); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	if _, err := readFunctions(whole, 0x1000, 31); err == nil {
		t.Error("no error, although the functions are larger than the code")
	}
	for n := range whole {
		if _, err := readFunctions(whole[:n], 0x1000, 32); err == nil {
			t.Errorf("read of %d bytes of %d", n, len(whole))
		}
	}
	for _, at := range []int{0, 6, 7, 15, 39, 71} { // format, count and offsets
		b := bytes.Clone(whole)
		b[at] ^= 0x80
		if _, err := readFunctions(b, 0x1000, 32); err == nil {
			t.Errorf("no error for a wrong byte %d", at)
		}
	}
}

// FuzzFunctions reads any bytes as a table of functions. Wrong counts and offsets must not cause
// a panic, and every function must be inside the code.
func FuzzFunctions(f *testing.F) {
	f.Add(tinyTable(f))
	f.Add(tinyTable(f, "a.F", "b.G"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const text, size = 0x401000, 1 << 16
		funcs, err := readFunctions(b, text, size)
		if err != nil {
			return
		}
		at := uint64(text)
		for _, f := range funcs {
			if f.addr < at || f.end() < f.addr || f.end() > text+size {
				t.Errorf("%q is at %#x to %#x", f.name, f.addr, f.end())
			}
			at = f.end()
		}
	})
}

// If a program has a symbol table, the function table must agree with it.
func TestFunctionsAreThoseOfTheSymbolTable(t *testing.T) {
	src := writeTree(t, map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.25\n",
		"main.go": `package main

import "net/http"

func main() { panic(http.ListenAndServe(":1", nil)) }
`,
	})
	build := func(flag string) *program {
		o := Options{Package: ".", Dir: src}
		p, _, err := o.compile(t.Context(), stock{}, t.TempDir(), []string{"-ldflags=" + flag}, "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := build("-w")
	if stripped := build("-s"); !slices.Equal(p.funcs, stripped.funcs) {
		t.Error("the functions differ without the symbol table")
	}
	symbols, err := p.elf.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	wrappers := map[string]bool{} // names of assembly functions that have a wrapper
	for _, s := range symbols {
		if strings.HasSuffix(s.Name, ".abi0") {
			wrappers[strings.TrimSuffix(s.Name, ".abi0")] = true
		}
	}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Name == "runtime.text" || s.Name == "runtime.etext" {
			continue
		}
		f, ok := p.function(s.Value)
		if !ok || strings.ReplaceAll(f.name, "·", ".") != strings.TrimSuffix(s.Name, ".abi0") || f.addr != s.Value || f.size < s.Size {
			t.Errorf("%s at %#x, %d bytes: %+v", s.Name, s.Value, s.Size, f)
		}
		if f.assembly && wrappers[s.Name] {
			t.Errorf("the wrapper %s counts as assembly", s.Name)
		}
	}
	for name, assembly := range map[string]bool{"runtime.memmove": true, "syscall.rawSyscallNoError": true, "main.main": false} {
		if _, ok, err := p.assembly(name); ok != assembly || err != nil {
			t.Errorf("%s is in assembly: %t, %v", name, ok, err)
		}
	}
}
