package doctor

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/instance"
)

// TestMain lets the test executable stand in for pith, which checkNamespaces
// starts with the argument "version".
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// trial is a monitor whose trial ends with err.
type trial struct {
	instance.Monitor
	essential bool
	err       error
}

func (m trial) Describe() *instance.Description {
	return &instance.Description{Name: "trial", Essential: m.essential, Without: "do without"}
}
func (m trial) Probe(context.Context) (string, error) { return "it works", m.err }

func TestEveryFindingIsSaidAndEveryLackHasAdvice(t *testing.T) {
	for _, refusal := range []error{nil, errors.New("refused")} {
		auto := func(context.Context) (string, error) { return "trial", refusal }
		for _, c := range Run(t.Context(), []instance.Monitor{trial{err: refusal}, trial{essential: true, err: refusal}}, auto) {
			if c.Name == "" || c.Found == "" || (c.Status != OK) != (c.Advice != "") {
				t.Errorf("%+v", c)
			}
		}
	}
}

func TestWithoutGoNothingIsBuilt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if c := checkGo(t.Context()); c.Status != Missing || !strings.Contains(c.Found, "no go command") {
		t.Errorf("%+v", c)
	}
}

func TestOnlyAnEssentialMonitorIsMissing(t *testing.T) {
	refused := errors.New("refused")
	for want, m := range map[Status]trial{OK: {essential: true}, Limited: {err: refused}, Missing: {essential: true, err: refused}} {
		if c := checkMonitor(t.Context(), m); c.Status != want || c.Name != "trial monitor" || m.err != nil && c.Found != "refused" {
			t.Errorf("%+v, want %v", c, want)
		}
	}
}
