// Package harness runs one program on several monitors, and one client checks them
// all. The plain Linux binary shows what is right, and the image must answer the
// same. The tests of examples and conformance and the benchmarks call this package.
// It calls the go command and the pith command, as a user does.
package harness

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Program is a main package and how to start it. Args and Env may have placeholders.
// ${root} is the root of the program's files. ${port:N} is the port on which the
// program must listen, for clients to reach it at Instance.Addr(N). ${host} is the
// address of the host's loopback servers, as the program reaches them.
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

// place has the values of a program's placeholders on one monitor.
type place struct {
	root  string
	host  string
	ports map[string]string // by guest port: the port that the program listens on
}

// fill replaces the placeholders in each of list.
func (p place) fill(list []string) []string {
	pairs := []string{"${root}", p.root, "${host}", p.host}
	for guest, port := range p.ports {
		pairs = append(pairs, "${port:"+guest+"}", port)
	}
	r := strings.NewReplacer(pairs...)
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

// populate makes a root folder as an image has it: /tmp and files.
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
