package cli

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pith-os/pith/internal/monitor"
)

// parseFolders reads the values of -v.
func parseFolders(values []string) (folders []monitor.Folder, err error) {
	seen := make(map[string]string)
	for _, s := range values {
		f, err := parseFolder(s)
		if other, ok := seen[f.Guest]; err == nil && ok {
			err = fmt.Errorf("-v %s is there already: leave one out", other)
		}
		if err != nil {
			return nil, fmt.Errorf("-v %s: %w", s, err)
		}
		seen[f.Guest] = s
		folders = append(folders, f)
	}
	return folders, nil
}

// parseFolder reads HOST:GUEST[:ro].
func parseFolder(s string) (f monitor.Folder, err error) {
	rest, readOnly := strings.CutSuffix(s, ":ro")
	f.ReadOnly = readOnly
	host, guest, ok := strings.Cut(rest, ":")
	if !ok || host == "" || !path.IsAbs(guest) || strings.Contains(guest, ":") {
		return f, errFolder
	}
	if f.Host, err = filepath.Abs(host); err != nil {
		return f, err
	}
	f.Guest = path.Clean(guest)
	info, err := os.Stat(f.Host)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return f, fmt.Errorf("there is no folder %s: make it, or give another", host)
	case err != nil:
		return f, err
	case !info.IsDir():
		return f, fmt.Errorf("%s is not a folder: give the one that it is in", host)
	}
	return f, nil
}

var errFolder = errors.New("write it as HOST:GUEST[:ro], for example ./data:/data (for the names of packages: --verbose)")
