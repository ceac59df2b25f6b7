package apps

import (
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestPrometheusMetrics(t *testing.T) {
	harness.Serve(t, server("./metrics"), 0, func(t *testing.T, i *harness.Instance) {
		base := "http://" + i.Addr("80")
		for range 7 {
			expect(t, "GET", base+"/hello", "", "hello\n")
		}
		text, err := request("GET", base+"/metrics", "")
		if err != nil {
			t.Fatal(err)
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		if err != nil {
			t.Fatalf("not the exposition format: %v", err)
		}
		if f := families["app_requests_total"]; f == nil || f.Metric[0].Counter.GetValue() != 7 {
			t.Errorf("requests counted: %v", f)
		}
		if f := families["app_request_seconds"]; f == nil || f.Metric[0].Histogram.GetSampleCount() != 7 {
			t.Errorf("durations measured: %v", f)
		}
		// These come from the runtime, and from /proc/self.
		for _, name := range []string{
			"go_goroutines", "go_memstats_heap_alloc_bytes", "go_gc_duration_seconds", "process_open_fds",
			"process_max_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_start_time_seconds",
		} {
			f := families[name]
			if f == nil {
				t.Errorf("%s is missing", name)
				continue
			}
			m := f.Metric[0]
			if m.Gauge.GetValue() <= 0 && m.Summary == nil {
				t.Errorf("%s is %v", name, m)
			}
		}
		if families["process_cpu_seconds_total"] == nil {
			t.Error("process_cpu_seconds_total is missing")
		}
	})
}
