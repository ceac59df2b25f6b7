package version

import (
	"runtime/debug"
	"testing"
)

func TestVersionIsWhatTheGoCommandStamped(t *testing.T) {
	const revision = "f86c483335d3682b024f8debf810249f26242ee7"
	vcs := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{
			{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: revision},
			{Key: "vcs.time", Value: "2026-11-21T10:03:15Z"}, {Key: "vcs.modified", Value: modified},
		}
	}
	for _, test := range []struct {
		name, version string
		settings      []debug.BuildSetting
		short, long   string
	}{
		{"go run", "(devel)", nil, "devel", "devel (go1.26.8)"},
		{"go test", "", nil, "devel", "devel (go1.26.8)"},
		{"go install PATH@v0.1.0", "v0.1.0", nil, "v0.1.0", "v0.1.0 (go1.26.8)"},
		{"a tagged commit", "v0.1.0", vcs("false"), "v0.1.0", "v0.1.0 (commit f86c483335d3 of 2026-11-21T10:03:15Z; go1.26.8)"},
		{
			"changed sources", "v0.0.0-20261121100315-f86c483335d3+dirty", vcs("true"), "v0.0.0-20261121100315-f86c483335d3+dirty",
			"v0.0.0-20261121100315-f86c483335d3+dirty (commit f86c483335d3 of 2026-11-21T10:03:15Z, modified; go1.26.8)",
		},
	} {
		i := fromBuild(&debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: test.version}, Settings: test.settings})
		if i.String() != test.short || i.Long() != test.long {
			t.Errorf("%s: %q and %q, want %q and %q", test.name, i.String(), i.Long(), test.short, test.long)
		}
	}
}
