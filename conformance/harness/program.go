// Package harness runs one program on several monitors and lets one client
// check them all: the plain Linux binary says what is true, the image must
// answer the same. The tests of examples and conformance and the benchmarks
// call it; it calls the go command and the pith command, as a user would.
package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Program is a main package and the way it is started. In Args and Env,
// ${root} is the root of the program's files, ${port:N} the port that the
// program must listen on to be reached by Instance.Addr(N), and ${host} the
// address by which the program reaches servers on this machine's loopback.
type Program struct {
	Package string            // as go build takes it
	Dir     string            // where the go command runs; empty: the working directory
	Args    []string          // arguments of the program
	Env     []string          // its whole environment, KEY=VALUE
	Files   map[string]string // path below the root: file or folder to put there
	Ports   []string          // published guest ports, "80" or "53/udp"
	Stdin   string            // its standard input
	Flags   []string          // further flags of pith run
}

// place is how a program's placeholders read on one monitor.
type place struct {
	root  string
	host  string
	ports map[string]string // by guest port: the port that the program listens on
}

// fill replaces the placeholders in each of list.
func (p place) fill(list []string) []string {
	words := []string{"${root}", p.root, "${host}", p.host}
	for guest, port := range p.ports {
		words = append(words, "${port:"+guest+"}", port)
	}
	r := strings.NewReplacer(words...)
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = r.Replace(s)
	}
	return out
}

// freePorts finds a free host port for each of ports.
func freePorts(ports []string) (map[string]string, error) {
	free := make(map[string]string, len(ports))
	for _, p := range ports {
		addr, err := freeAddr(strings.HasSuffix(p, "/udp"))
		if err != nil {
			return nil, fmt.Errorf("find a free port for %s: %w", p, err)
		}
		_, free[p], err = net.SplitHostPort(addr.String())
		if err != nil {
			return nil, err
		}
	}
	return free, nil
}

func freeAddr(udp bool) (net.Addr, error) {
	if udp {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		return c.LocalAddr(), c.Close()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return l.Addr(), l.Close()
}

// populate makes a root folder as an image would have it: /tmp and files.
func populate(root string, files map[string]string) error {
	if err := os.MkdirAll(filepath.Join(root, "tmp"), 0o777); err != nil {
		return err
	}
	for dst, src := range files {
		dst = filepath.Join(root, dst)
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		info, err := os.Stat(src)
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
				return err
			}
			continue
		}
		data, err := os.ReadFile(src)
		if err != nil {
			return err
		}
		if err := os.WriteFile(dst, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
