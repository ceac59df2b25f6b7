package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Container runs the plain binary by an OCI runtime, runc or runsc, as
// benchmarks compare it with: no image format, no engine, just the runtime on
// a bundle. It shares the host's network, which favours it: no bridge and no
// address translation stand between client and program. runsc then passes the
// host's sockets through and leaves its own TCP/IP stack out; with that stack,
// the runsc that Debian 12 has (20221219) takes every network namespace of a
// recent kernel for the root one, and refuses to start.
func Container(runtime string) Monitor {
	return Monitor{Name: runtime, command: func(ctx context.Context, l *Lab, p Program, hosts map[string]string) (*exec.Cmd, error) {
		return containerCommand(ctx, l, runtime, p, hosts)
	}}
}

func containerCommand(ctx context.Context, l *Lab, runtime string, p Program, hosts map[string]string) (*exec.Cmd, error) {
	bin, err := l.Plain(ctx, p)
	if err != nil {
		return nil, err
	}
	bundle, err := os.MkdirTemp(l.dir, runtime+"-")
	if err != nil {
		return nil, err
	}
	root := filepath.Join(bundle, "rootfs")
	if err := populate(root, p.Files); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, "program"), program, 0o755); err != nil {
		return nil, err
	}
	where := place{host: "127.0.0.1", ports: hosts}
	if err := bundleSpec(ctx, bundle, append([]string{"/program"}, where.fill(p.Args)...), where.fill(p.Env)); err != nil {
		return nil, err
	}
	argv := []string{"--root", filepath.Join(l.dir, runtime+"-state")}
	if runtime == "runsc" {
		argv = append(argv, "--network=host", "--ignore-cgroups")
	}
	argv = append(argv, "run", "--bundle", bundle, filepath.Base(bundle))
	return exec.CommandContext(ctx, runtime, argv...), nil
}

// bundleSpec writes the bundle's config.json: what runc spec makes, with the
// program, no terminal, and the host's network.
func bundleSpec(ctx context.Context, bundle string, args, env []string) error {
	if err := command(ctx, bundle, "runc", "spec"); err != nil {
		return err
	}
	file := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	process, ok1 := spec["process"].(map[string]any)
	linux, ok2 := spec["linux"].(map[string]any)
	namespaces, ok3 := linux["namespaces"].([]any)
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("%s: not the specification that runc spec is known to make", file)
	}
	process["args"], process["env"], process["terminal"] = args, env, false
	var kept []any
	for _, n := range namespaces {
		if ns, ok := n.(map[string]any); !ok || ns["type"] != "network" {
			kept = append(kept, n)
		}
	}
	linux["namespaces"] = kept
	if data, err = json.Marshal(spec); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
