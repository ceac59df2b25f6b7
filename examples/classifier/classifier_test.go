package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/examples/classifier/network"
	"github.com/pith-os/pith/examples/classifier/shapes"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

var program = harness.Program{
	Package: ".",
	Args:    []string{"-addr", ":${port:80}"},
	Ports:   []string{"80"},
}

func encode(t *testing.T, img image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func post(addr string, body []byte) (status int, answer string, err error) {
	res, err := http.Post("http://"+addr+"/classify", "image/png", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, string(data), err
}

func TestClassifiesNewImages(t *testing.T) {
	harness.Serve(t, program, 0, func(t *testing.T, i *harness.Instance) {
		r := rand.New(rand.NewPCG(99, 99)) // training used another seed
		const images = 100
		right := 0
		for n := range images {
			want := n % len(shapes.Names)
			status, answer, err := post(i.Addr("80"), encode(t, shapes.Draw(r, want)))
			if err != nil || status != 200 {
				t.Fatalf("status %d %q, %v", status, answer, err)
			}
			var v Verdict
			if err := json.Unmarshal([]byte(answer), &v); err != nil {
				t.Fatal(err)
			}
			if v.Confidence != v.All[v.Label] || len(v.All) != len(shapes.Names) {
				t.Errorf("inconsistent answer %s", answer)
			}
			if v.Label == shapes.Names[want] {
				right++
			}
		}
		if right < images*95/100 {
			t.Errorf("%d of %d images are right, want 95%%", right, images)
		}
	})
}

func TestInvalidImages(t *testing.T) {
	blank := image.NewGray(image.Rect(0, 0, 64, 64))
	wide := image.NewGray(image.Rect(0, 0, maxSide+1, 20))
	small := image.NewGray(image.Rect(0, 0, 8, 8))
	small.SetGray(4, 4, color.Gray{Y: 255})
	harness.Serve(t, program, 0, func(t *testing.T, i *harness.Instance) {
		for _, tc := range []struct {
			name   string
			body   []byte
			status int
			answer string
		}{
			{"not a PNG", []byte("GIF89a, not a PNG"), 422, "not a PNG file"},
			{"empty", nil, 422, "EOF"},
			{"truncated", encode(t, blank)[:50], 422, "not enough pixel data"},
			{"blank", encode(t, blank), 422, "is blank"},
			{"tiny", encode(t, small), 422, "smaller"},
			{"too wide", encode(t, wide), 422, "2049 by 20"},
			{"a file that is too large", make([]byte, maxBody+1), 413, "too large"},
		} {
			status, answer, err := post(i.Addr("80"), tc.body)
			if err != nil || status != tc.status || !strings.Contains(answer, tc.answer) {
				t.Errorf("%s: %d %q, %v", tc.name, status, answer, err)
			}
		}
	})
}

func TestInvalidWeightsAreRefused(t *testing.T) {
	huge := append([]byte(nil), weights...)
	huge[7] = 0xff
	for name, data := range map[string][]byte{
		"empty":       nil,
		"truncated":   weights[:len(weights)-1],
		"too long":    append(append([]byte(nil), weights...), 0),
		"other magic": append([]byte("XXXX"), weights[4:]...),
		"huge":        huge,
	} {
		var n network.Network
		if n.UnmarshalBinary(data) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	var n network.Network
	if err := n.UnmarshalBinary(weights); err != nil {
		t.Fatal(err)
	}
	if again, err := n.MarshalBinary(); err != nil || !bytes.Equal(again, weights) {
		t.Errorf("MarshalBinary does not return the same weights: %v", err)
	}
}

func ExampleVerdict() {
	data, err := json.Marshal(Verdict{Label: "ring", Confidence: 0.5, All: map[string]float32{"ring": 0.5}})
	fmt.Println(string(data), err)
	// Output: {"label":"ring","confidence":0.5,"all":{"ring":0.5}} <nil>
}
