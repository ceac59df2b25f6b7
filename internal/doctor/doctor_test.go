package doctor

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test executable stand in for pith, which checkNamespaces
// starts with the argument "version".
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestEveryFindingIsSaidAndEveryLackHasAdvice(t *testing.T) {
	for _, probe := range []Probe{
		func(context.Context) (string, error) { return "confined", nil },
		func(context.Context) (string, error) { return "", errors.New("refused") },
	} {
		for _, c := range Run(t.Context(), Probes{probe, probe, probe, probe}) {
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

func TestFailedProbeIsMissing(t *testing.T) {
	c := checkProcess(t.Context(), func(context.Context) (string, error) { return "", errors.New("refused") })
	if c.Status != Missing || c.Found != "refused" {
		t.Errorf("%+v", c)
	}
}
