package harness

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// .ci/run reads the last line.
func TestMonitorsThatRun(t *testing.T) {
	var names []string
	for _, m := range Monitors {
		if err := m.Missing(); err != nil {
			t.Logf("%s does not run here: %v", m.Name, err)
		} else if m.Image {
			names = append(names, m.Name)
		}
	}
	t.Log("monitors that run:", strings.Join(names, ", "))
}

func TestPlaceholdersReadAsTheMonitorHasThem(t *testing.T) {
	p := place{root: "/r", host: "10.0.2.2", ports: map[string]string{"80": "4000", "53/udp": "5000"}}
	got := p.fill([]string{"${root}/etc", "a:${port:80}", "${port:53/udp}${host}", "$HOME ${port:81}"})
	want := []string{"/r/etc", "a:4000", "500010.0.2.2", "$HOME ${port:81}"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDeathBySignalIsAnExitCode(t *testing.T) {
	i := Start(t, Plain, Program{Package: "./testdata/sleeper"})
	if err := i.Await(Timeout, func() error {
		if !strings.Contains(i.Stdout(), "ready") {
			return errors.New("not ready")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if code, err := i.Stop(syscall.SIGKILL, Timeout); err != nil || code != 128+int(syscall.SIGKILL) {
		t.Errorf("exit code %d, %v", code, err)
	}
}
