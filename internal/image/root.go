package image

import (
	"archive/zip"
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Mapping is a file or folder of the host to copy into the image's root.
type Mapping struct {
	Source string // path on the host
	Target string // absolute path in the image; with a slash at the end, the folder to copy a file into
}

// ParseMapping reads SRC:DST.
func ParseMapping(s string) (Mapping, error) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || i == len(s)-1 {
		return Mapping{}, errors.New("must be SRC:DST")
	}
	m := Mapping{s[:i], s[i+1:]}
	if !path.IsAbs(m.Target) {
		return Mapping{}, fmt.Errorf("%s must be an absolute path of the image", m.Target)
	}
	return m, nil
}

// copyInto adds the files of m to t.
func (m Mapping) copyInto(t tree) error {
	target := strings.TrimPrefix(path.Clean(m.Target), "/")
	fi, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		if target == "" || strings.HasSuffix(m.Target, "/") {
			target = path.Join(target, filepath.Base(m.Source))
		}
		return addHost(t, target, m.Source, fi)
	}
	source, err := filepath.EvalSymlinks(m.Source) // WalkDir does not follow links, not even in its argument
	if err != nil {
		return err
	}
	return filepath.WalkDir(source, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		to := path.Join(target, filepath.ToSlash(rel))
		if to == "" || to == "." {
			return nil // the root always exists
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		return addHost(t, to, name, fi)
	})
}

// addHost adds the host's file source as target. fi describes the file.
func addHost(t tree, target, source string, fi fs.FileInfo) error {
	e := entry{mode: 0o644}
	var err error
	switch fi.Mode().Type() {
	case 0:
		if fi.Mode()&0o111 != 0 {
			e.mode = 0o755
		}
		e.data, err = os.ReadFile(source)
	case fs.ModeDir:
		e.mode = fs.ModeDir | 0o755
	case fs.ModeSymlink:
		var link string
		link, err = os.Readlink(source)
		e = entry{fs.ModeSymlink | 0o777, []byte(link)}
	default:
		return fmt.Errorf("%s: only files, folders and symbolic links can be copied into an image", source)
	}
	if err != nil {
		return err
	}
	return t.add(target, e)
}

// Paths at which Go's packages look for these files (crypto/x509/root_linux.go,
// time/zoneinfo_unix.go).
const (
	rootsFile   = "etc/ssl/certs/ca-certificates.crt"
	zoneinfoDir = "usr/share/zoneinfo"
)

// root makes the root of a program's image. The root has each file that the standard library
// reads if the program can reach the function that reads it. The user's own files replace those
// files.
func (p *program) root(goroot string, files []Mapping) (tree, error) {
	t := tree{}
	if p.verifiesPeers() {
		if err := t.add(rootsFile, entry{mode: 0o644, data: certificates()}); err != nil {
			return nil, err
		}
	}
	if p.has("time.LoadLocation") && !p.has("time/tzdata.loadFromEmbeddedTZData") {
		if err := addZones(t, goroot); err != nil {
			return nil, fmt.Errorf("time zones: %w", err)
		}
	}
	for _, m := range files {
		if err := m.copyInto(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// certificates returns Mozilla's root certificates as a PEM file. Mozilla trusts some roots only
// for certificates issued before a certain date. A PEM file cannot express that, so certificates
// leaves those roots out.
func certificates() []byte {
	var out bytes.Buffer
	for r := range bundle.Roots() {
		if r.Constraint == nil {
			// This cannot fail: the block has no headers, and the writer is a Buffer.
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate})
		}
	}
	return out.Bytes()
}

// addZones adds the time zones of the Go distribution.
func addZones(t tree, goroot string) error {
	z, err := zip.OpenReader(filepath.Join(goroot, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return err
	}
	defer z.Close()
	for _, f := range z.File {
		if f.Mode().IsDir() {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return err
		}
		if err := t.add(path.Join(zoneinfoDir, f.Name), entry{mode: 0o644, data: data}); err != nil {
			return err
		}
	}
	return nil
}
