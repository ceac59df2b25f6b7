package toolchain

import (
	"bytes"
	"embed"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// gvisorModule is the module of the network stack.
const gvisorModule = "gvisor.dev/gvisor"

// gvisorModules are the modules that gvisorFiles takes packages from. Pith's go.mod
// requires all of them.
var gvisorModules = []string{gvisorModule, "github.com/google/btree", "golang.org/x/time"}

// gvisorRoots are the packages that libos/inet imports. gvisorFiles follows the imports in
// their sources.
var gvisorRoots = []string{
	gvisorModule + "/pkg/tcpip/link/loopback",
	gvisorModule + "/pkg/tcpip/network/arp",
	gvisorModule + "/pkg/tcpip/network/ipv4",
	gvisorModule + "/pkg/tcpip/network/ipv6",
	gvisorModule + "/pkg/tcpip/transport/icmp",
	gvisorModule + "/pkg/tcpip/transport/raw",
	gvisorModule + "/pkg/tcpip/transport/tcp",
	gvisorModule + "/pkg/tcpip/transport/udp",
}

// gvisorOwn has Pith's replacements for some of gVisor's packages, by path below the module.
// The originals depend on internals of the runtime or on the host, or Pith uses only a small
// part of them.
//
//go:embed gvisor
var gvisorOwn embed.FS

// gvisorEdits are changes to gVisor's sources. In file, a path below the module, the text
// old becomes new. It must occur exactly once.
var gvisorEdits = []struct{ file, old, new string }{
	// The edited package net imports the stack.
	{"pkg/tcpip/tcpip.go", "\t\"net\"\n", ""},
	{"pkg/tcpip/tcpip.go", "make(net.HardwareAddr, LinkAddressSize)", "make([]byte, LinkAddressSize)"},
	// The window field has a unit larger than a byte. Rounding down shrinks an offered
	// window that the peer has already filled. The peer then sends acknowledgements with
	// sequence numbers beyond the window, and the stack drops them. A program that reads
	// and writes at the same time hangs. So round up, like tcp_select_window in Linux.
	{"pkg/tcpip/transport/tcp/rcv.go", "newWnd = curWnd", "newWnd = (curWnd + 1<<r.RcvWndScale - 1) >> r.RcvWndScale << r.RcvWndScale"},
	// Some peers do shrink the window, such as the gateway, whose stack is unchanged
	// gVisor. For them, acknowledge with a sequence number inside the window, like
	// tcp_acceptable_seq in Linux.
	{"pkg/tcpip/transport/tcp/snd.go",
		"func (s *sender) sendAck() {\n\ts.sendEmptySegment(header.TCPFlagAck, s.SndNxt)\n",
		"func (s *sender) sendAck() {\n\tseq := s.SndNxt\n\tif end := s.SndUna.Add(s.SndWnd); end.LessThan(seq) {\n\t\tseq = end\n\t}\n\ts.sendEmptySegment(header.TCPFlagAck, seq)\n"},
}

// gvisorStubs are functions of gVisor that get another body. The linker then drops the code
// that only they call. file is a path below the module, and fn is a name in the form of go
// doc.
var gvisorStubs = []struct{ file, fn, body string }{
	// Packet filters and address translation: an instance has no rules for them.
	{"pkg/tcpip/stack/iptables.go", "DefaultTables", "return &IPTables{}"},
	{"pkg/tcpip/stack/iptables.go", "IPTables.CheckPrerouting", "return true"},
	{"pkg/tcpip/stack/iptables.go", "IPTables.CheckInput", "return true"},
	{"pkg/tcpip/stack/iptables.go", "IPTables.CheckForward", "return true"},
	{"pkg/tcpip/stack/iptables.go", "IPTables.CheckOutput", "return true"},
	{"pkg/tcpip/stack/iptables.go", "IPTables.CheckPostrouting", "return true"},
}

// gvisorFiles returns the sources of the network stack for GOROOT/src/vendor of the derived
// distribution: contents by path below GOROOT/src. modDir returns the folder of a module.
func gvisorFiles(modDir func(module string) (string, error)) (map[string][]byte, error) {
	files := make(map[string][]byte)
	dirs := make(map[string]string)
	for _, m := range gvisorModules {
		dir, err := modDir(m)
		if err != nil {
			return nil, err
		}
		dirs[m] = dir
	}
	queue := slices.Clone(gvisorRoots)
	for seen := map[string]bool{}; len(queue) > 0; {
		pkg := queue[0]
		queue = queue[1:]
		if seen[pkg] {
			continue
		}
		seen[pkg] = true
		src, imports, err := vendored(dirs, pkg)
		if err != nil {
			return nil, fmt.Errorf("network stack: package %s: %w", pkg, err)
		}
		for name, data := range src {
			files["vendor/"+pkg+"/"+name] = data
		}
		queue = append(queue, imports...)
	}
	for _, e := range gvisorEdits {
		name := "vendor/" + gvisorModule + "/" + e.file
		if n := bytes.Count(files[name], []byte(e.old)); n != 1 {
			return nil, fmt.Errorf("network stack: %s has %q %d times where one is expected: this version of gVisor is not supported", e.file, e.old, n)
		}
		files[name] = bytes.Replace(files[name], []byte(e.old), []byte(e.new), 1)
	}
	for _, f := range gvisorStubs {
		name := "vendor/" + gvisorModule + "/" + f.file
		src, err := stub(files[name], f.fn, f.body)
		if err != nil {
			return nil, fmt.Errorf("network stack: %s: %w: this version of gVisor is not supported", f.file, err)
		}
		files[name] = src
	}
	return files, nil
}

// stub gives function fn of a source file another body.
func stub(src []byte, fn, body string) ([]byte, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || funcName(f) != fn {
			continue
		}
		start, end := fset.Position(f.Body.Lbrace).Offset, fset.Position(f.Body.Rbrace).Offset
		return slices.Concat(src[:start], []byte("{ "+body+" "), src[end:]), nil
	}
	return nil, fmt.Errorf("there is no function %s", fn)
}

// funcName returns a function's name. A method's name begins with the receiver's type.
func funcName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return ""
}

// vendored returns the source files of pkg that the distribution needs, by name, and the
// imports of pkg that are not standard packages.
func vendored(dirs map[string]string, pkg string) (map[string][]byte, []string, error) {
	if rel, ok := strings.CutPrefix(pkg, gvisorModule+"/"); ok {
		if own, err := fs.Glob(gvisorOwn, path.Join("gvisor", rel, "*.go")); err != nil || own != nil {
			return replacement(own)
		}
	}
	dir := ""
	for m, d := range dirs {
		if rel, ok := strings.CutPrefix(pkg, m); ok {
			dir = filepath.Join(d, filepath.FromSlash(rel))
		}
	}
	if dir == "" {
		return nil, nil, fmt.Errorf("no module has it: %s", strings.Join(slices.Sorted(maps.Keys(dirs)), ", "))
	}
	p, err := gvisorBuild.ImportDir(dir, 0)
	if err != nil {
		return nil, nil, err
	}
	src := make(map[string][]byte)
	for _, name := range slices.Concat(p.GoFiles, p.SFiles, p.HFiles) {
		if src[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, nil, err
		}
	}
	return src, slices.DeleteFunc(p.Imports, standard), nil
}

// replacement reads the files of one of Pith's replacements. It removes the build constraint
// that excludes them from this module's own build.
func replacement(names []string) (map[string][]byte, []string, error) {
	src := make(map[string][]byte)
	for _, name := range names {
		data, err := gvisorOwn.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		src[path.Base(name)] = bytes.Replace(data, []byte("//go:build pith\n\n"), nil, 1)
	}
	return src, nil, nil
}

// standard reports whether a package belongs to the derived distribution itself.
func standard(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return !strings.Contains(first, ".")
}

// gvisorBuild selects files as the go command does for an image. It also excludes the files
// that only gVisor's checkpoints need. They import gVisor's package state and, through
// errors_linux.go, golang.org/x/sys.
var gvisorBuild = build.Context{
	GOOS:        "linux",
	GOARCH:      "amd64",
	Compiler:    "gc",
	ReleaseTags: build.Default.ReleaseTags,
	ReadDir: func(dir string) ([]fs.FileInfo, error) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		var infos []fs.FileInfo
		for _, e := range entries {
			name := e.Name()
			if strings.HasSuffix(name, "_state_autogen.go") || strings.HasSuffix(name, "_test.go") || name == "errors_linux.go" {
				continue
			}
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			infos = append(infos, info)
		}
		return infos, nil
	},
}
