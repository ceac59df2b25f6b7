package apps

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// long skips the test of a program that takes minutes to compile.
func long(t *testing.T) {
	if testing.Short() {
		t.Skip("a large program; run without -short")
	}
}

// server is a program of this module that listens on one port.
func server(pkg string, args ...string) harness.Program {
	return harness.Program{
		Package: pkg,
		Args:    append([]string{"-addr", ":${port:80}"}, args...),
		Ports:   []string{"80"},
	}
}

// answer reads a response to its end. Statuses of 4xx and 5xx are errors.
func answer(res *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 400 {
		err = fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(data)))
	}
	return string(data), err
}

// request makes a request and reads its answer.
func request(method, url, body string) (string, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	return answer(http.DefaultClient.Do(req))
}

// expect makes a request whose answer must be as given.
func expect(t *testing.T, method, url, body, want string) {
	t.Helper()
	if got, err := request(method, url, body); err != nil || got != want {
		t.Errorf("%s %s: %q, %v, want %q", method, url, got, err, want)
	}
}

// refused makes a request that must fail with a message.
func refused(t *testing.T, method, url, want string) {
	t.Helper()
	if got, err := request(method, url, ""); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s %s: %q, %v, want an error with %q", method, url, got, err, want)
	}
}
