package cli

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// parseSize reads a number of bytes with an optional binary unit: 64M, 1G,
// 512MiB.
func parseSize(s string) (uint64, error) {
	bad := errors.New("give a size such as 64M or 1G")
	digits := strings.TrimRight(s, "kKmMgGtTiIbB")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, bad
	}
	unit := strings.ToLower(s[len(digits):])
	if len(unit) > 1 {
		unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	}
	shift := map[string]int{"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
	by, ok := shift[unit]
	if !ok || n > math.MaxInt64>>by {
		return 0, bad
	}
	return n << by, nil
}

// portMapping is a published port.
type portMapping struct {
	udp   bool
	host  netip.AddrPort // an invalid IP address: all addresses of the host
	guest uint16
}

func parsePorts(list []string) ([]portMapping, error) {
	var ports []portMapping
	type guest struct {
		udp  bool
		port uint16
	}
	seen := map[guest]string{}
	for _, s := range list {
		p, err := parsePort(s)
		if err != nil {
			return nil, fmt.Errorf("-p %s: %w", s, err)
		}
		key := guest{p.udp, p.guest}
		if other, ok := seen[key]; ok {
			return nil, fmt.Errorf("-p %s: port %d of the program is already published by -p %s: leave out one of the two", s, p.guest, other)
		}
		seen[key] = s
		ports = append(ports, p)
	}
	return ports, nil
}

// parsePort reads [ADDR:]HOST:GUEST[/udp]. An IPv6 address stands in brackets.
func parsePort(s string) (portMapping, error) {
	bad := errors.New("write it as [ADDR:]HOST:GUEST[/udp], for example 8080:80")
	var p portMapping
	rest, proto, _ := strings.Cut(s, "/")
	switch proto {
	case "", "tcp":
	case "udp":
		p.udp = true
	default:
		return p, bad
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return p, bad
	}
	guest, ok := portNumber(rest[i+1:])
	if !ok {
		return p, bad
	}
	rest = rest[:i]
	var addr netip.Addr
	if i = strings.LastIndexByte(rest, ':'); i >= 0 {
		var err error
		if addr, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(rest[:i], "["), "]")); err != nil {
			return p, bad
		}
		rest = rest[i+1:]
	}
	host, ok := portNumber(rest)
	if !ok {
		return p, bad
	}
	p.host, p.guest = netip.AddrPortFrom(addr, host), guest
	return p, nil
}

func portNumber(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0
}

// hostEnv resolves the variables of -e: K=V, or K for the value that pith's own
// environment has. As with docker run, a K that is not set there is left out.
func hostEnv(vars []string) ([]string, error) {
	var env []string
	for _, v := range vars {
		key, _, given := strings.Cut(v, "=")
		if key == "" || strings.ContainsRune(v, 0) {
			return nil, fmt.Errorf("-e %q: give K=V or K", v)
		}
		if !given {
			val, ok := os.LookupEnv(key)
			if !ok {
				continue
			}
			v = key + "=" + val
		}
		env = append(env, v)
	}
	return env, nil
}

// readEnvFile reads variables as hostEnv does, one a line. It skips empty lines and
// lines that begin with #.
func readEnvFile(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var vars []string
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimLeft(sc.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '=' {
			return nil, fmt.Errorf("%s:%d: a variable has no name", name, n)
		}
		vars = append(vars, line)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return hostEnv(vars)
}

// mergeEnv joins environments. A later variable takes the place of an earlier one of
// the same name.
func mergeEnv(lists ...[]string) []string {
	var env []string
	at := map[string]int{}
	for _, list := range lists {
		for _, v := range list {
			key, _, _ := strings.Cut(v, "=")
			if i, ok := at[key]; ok {
				env[i] = v
				continue
			}
			at[key] = len(env)
			env = append(env, v)
		}
	}
	return env
}
