// Package version tells which pith this is. It reads the build information that
// the go command writes into every binary, so no linker flag is needed.
//
// Images record [Info.String], and nothing else of this package. It depends on
// the sources of pith alone: the same pith writes the same string everywhere.
package version

import (
	"runtime/debug"
	"strings"
)

// Devel is the version of a build that the go command did not stamp: one by go
// run or go test, or one with -buildvcs=false.
const Devel = "devel"

// shortRevision is how many digits of a commit are shown, as many as a Go
// pseudo-version has.
const shortRevision = 12

// Info identifies a build of pith. Fields that the build does not know are
// empty.
type Info struct {
	Version  string // v1.2.3; between releases a pseudo-version that names the commit; or Devel
	Revision string // the commit, in hexadecimal digits
	Time     string // the commit's time, as in RFC 3339
	Modified bool   // the sources differ from the commit
	Go       string // the Go release that compiled pith
}

// Get returns the running binary's Info.
func Get() Info {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return Info{Version: Devel}
	}
	return fromBuild(b)
}

func fromBuild(b *debug.BuildInfo) Info {
	i := Info{Version: b.Main.Version, Go: b.GoVersion}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	if i.Version == "" || i.Version == "(devel)" {
		i.Version = Devel
	}
	return i
}

// String returns the version in one word. The go command ends it with "+dirty"
// when the sources differ from the commit.
func (i Info) String() string { return i.Version }

// Long returns the version with what else is known of the build, in one line.
func (i Info) Long() string {
	details := []string{}
	if i.Revision != "" {
		commit := "commit " + i.Revision[:min(len(i.Revision), shortRevision)]
		if i.Time != "" {
			commit += " of " + i.Time
		}
		if i.Modified {
			commit += ", modified"
		}
		details = append(details, commit)
	}
	if i.Go != "" {
		details = append(details, i.Go)
	}
	if len(details) == 0 {
		return i.Version
	}
	return i.Version + " (" + strings.Join(details, "; ") + ")"
}
