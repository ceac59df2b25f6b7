// Command classifier is an edge service that names the shape in an image. POST
// a PNG file; the answer is a label and its probability. Command ./train has
// trained the network with images from package ./shapes. The weights are
// embedded in the program.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pith-os/pith/examples/classifier/network"
	"github.com/pith-os/pith/examples/classifier/shapes"
)

//go:generate go run ./train -o weights.bin

//go:embed weights.bin
var weights []byte

// Limits for uploads: bytes of the file, and pixels per side.
const (
	maxBody = 4 << 20
	maxSide = 2048
)

func main() {
	addr := flag.String("addr", ":80", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string) error {
	var n network.Network
	if err := n.UnmarshalBinary(weights); err != nil {
		return err
	}
	server := &http.Server{Addr: addr, Handler: service(&n), ReadTimeout: 10 * time.Second}
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		drained <- server.Shutdown(drain)
	}()
	log.Printf("listening on %s", addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

// Verdict is the answer for an image.
type Verdict struct {
	Label      string             `json:"label"`
	Confidence float32            `json:"confidence"`
	All        map[string]float32 `json:"all"`
}

func service(n *network.Network) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /classify", func(w http.ResponseWriter, r *http.Request) {
		v, err := classify(n, w, r)
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		case err != nil:
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			log.Printf("answer %s: %v", r.RemoteAddr, err)
		}
	})
	return mux
}

// classify decodes the image of a request and classifies it. It checks the
// dimensions before it decodes the pixels, because a small file can hold a very
// large image.
func classify(n *network.Network, w http.ResponseWriter, r *http.Request) (Verdict, error) {
	file, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return Verdict{}, err
	}
	size, err := png.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return Verdict{}, err
	}
	if size.Width > maxSide || size.Height > maxSide {
		return Verdict{}, fmt.Errorf("the image is %d by %d, more than %d", size.Width, size.Height, maxSide)
	}
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return Verdict{}, err
	}
	x, err := network.Features(img)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{All: make(map[string]float32)}
	for class, p := range n.Classify(x) {
		v.All[shapes.Names[class]] = p
		if p > v.Confidence {
			v.Label, v.Confidence = shapes.Names[class], p
		}
	}
	return v, nil
}
