package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pith-os/pith/internal/image"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/toolchain"
)

// testMemory is the default memory of tests. One program has many tests, and the host
// gives memory only when it is touched.
const testMemory = "2G"

func (s *session) execCommand() *cobra.Command {
	var f instanceFlags
	var verbose bool
	cmd := &cobra.Command{
		Use:   "exec [flags] BINARY [ARGS]",
		Short: "Run an executable that pith's Go linked, as a unikernel",
		Long: `Run an executable that pith's Go linked, such as a test, as an image. go test and
go run call it with -exec. The executable gets the arguments and the environment
unchanged. It starts in the current folder and sees these folders of the host at
their own paths: the module around the current folder, go's work folder for the
executable, the folders that its -test flags say to write to, and, to read, the
executable's folder and the Go distribution. It runs as a confined process unless
--monitor, or a flag that needs a virtual machine, says otherwise.`,
		Example: `  pith test ./...
  pith go test -exec "pith exec --monitor qemu" ./...
  pith go test -c -o x.test ./x && pith exec x.test -test.v`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("exec: no BINARY given: see %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := f.plan(cmd.Context(), processes)
			if err == nil {
				p.verbose = verbose
				err = s.exec(cmd.Context(), p, args)
			}
			if err != nil {
				return fmt.Errorf("exec: %w", err)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false)
	f.register(flags, testMemory)
	flags.BoolVar(&verbose, "verbose", false, "say how the image is confined")
	return cmd
}

func (s *session) exec(ctx context.Context, p *plan, args []string) error {
	executable, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	goroot := os.Getenv("GOROOT") // as go test and go run set it
	if goroot == "" {
		if goroot, _, err = toolchain.Find(ctx, dir); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp("", "pith-exec-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	o := image.Options{Output: filepath.Join(tmp, "image")}
	if o.Files, err = emptyFolders(tmp, "HOME", "TMPDIR"); err != nil {
		return err
	}
	switch _, err := image.Finish(executable, goroot, o); {
	case errors.Is(err, image.ErrNotDerived):
		return fmt.Errorf("%s: %w: build it with pith go build or pith go test -c", args[0], err)
	case err != nil:
		return fmt.Errorf("%s: %w", args[0], err)
	}
	img, err := image.Open(o.Output)
	if err != nil {
		return err
	}
	defer img.Close()
	p.Args, p.Env, p.Dir = args, os.Environ(), dir
	p.Folders = append(p.Folders, foldersOf(dir, executable, goroot, args[1:])...)
	return s.start(ctx, p, img)
}

// emptyFolders returns empty folders for the image, at the paths that the variables
// have.
func emptyFolders(tmp string, variables ...string) (files []image.Mapping, err error) {
	empty := filepath.Join(tmp, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		return nil, err
	}
	for _, name := range variables {
		if path := filepath.Clean(os.Getenv(name)); filepath.IsAbs(path) && path != "/" {
			files = append(files, image.Mapping{Source: empty, Target: path})
		}
	}
	return files, nil
}

// foldersOf returns the folders that an executable sees.
func foldersOf(dir, executable, goroot string, args []string) []instance.Folder {
	var l folders
	module := moduleRoot(dir)
	l.add(module, within(goroot, module)) // the distribution's files are shared with others
	switch in := filepath.Dir(executable); {
	case strings.HasPrefix(in, filepath.Join(os.TempDir(), "go-build")):
		l.add(in, false)
	case in != os.TempDir() && in != "/":
		l.add(in, true)
	}
	for _, path := range outputs(dir, args) {
		l.add(path, false)
	}
	l.add(goroot, true)
	// A derived distribution leads to the one that it was derived from.
	if original, err := filepath.EvalSymlinks(filepath.Join(goroot, "pkg")); err == nil {
		l.add(filepath.Dir(original), true)
	}
	return l
}

// folders are shared folders that have the same path on the host and in the guest.
type folders []instance.Folder

// add shares a folder, unless it is in a shared one already, or is no folder.
func (l *folders) add(path string, readOnly bool) {
	for _, f := range *l {
		if within(f.Host, path) && (readOnly || !f.ReadOnly) {
			return
		}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		*l = append(*l, instance.Folder{Host: path, Guest: path, ReadOnly: readOnly})
	}
}

// within reports whether path is dir or in it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// moduleRoot returns the nearest folder around dir that has a go.mod; dir if there is
// none.
func moduleRoot(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}

// outputs returns the folders that a test writes to. They are in flags
// -test.NAME=VALUE, as the go command gives them, or -test.NAME VALUE (see go help
// testflag).
func outputs(dir string, args []string) (paths []string) {
	into := dir
	for i, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		if value == "" {
			continue
		}
		if !filepath.IsAbs(value) {
			value = filepath.Join(into, value)
		}
		switch name {
		case "test.outputdir":
			into = value
			paths = append(paths, value)
		case "test.gocoverdir", "test.fuzzcachedir":
			paths = append(paths, value)
		case "test.coverprofile", "test.cpuprofile", "test.memprofile", "test.blockprofile", "test.mutexprofile", "test.trace", "test.testlogfile":
			paths = append(paths, filepath.Dir(value))
		}
	}
	return paths
}
