package cli

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/pith-os/pith/internal/instance"
)

// parseFolders reads the values of -v.
func parseFolders(values []string) (folders []instance.Folder, err error) {
	for _, s := range values {
		f, err := parseFolder(s)
		if err != nil {
			return nil, fmt.Errorf("-v %s: %w", s, err)
		}
		folders = append(folders, f)
	}
	return folders, nil
}

// parseFolder reads HOST:GUEST[:ro].
func parseFolder(s string) (f instance.Folder, err error) {
	rest, readOnly := strings.CutSuffix(s, ":ro")
	host, guest, ok := strings.Cut(rest, ":")
	if !ok || host == "" || !path.IsAbs(guest) || strings.Contains(guest, ":") {
		return f, errFolder
	}
	if host, err = filepath.Abs(host); err != nil {
		return f, err
	}
	return instance.Folder{Host: host, Guest: path.Clean(guest), ReadOnly: readOnly}, nil
}

var errFolder = errors.New("write it as HOST:GUEST[:ro], for example ./data:/data (for the names of packages: --verbose)")
