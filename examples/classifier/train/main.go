// Command train makes the classifier's weights: it draws images, teaches a
// network with them, measures it with others and writes it. On one kind of CPU
// it always makes the same file.
package main

import (
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"

	"github.com/pith-os/pith/examples/classifier/network"
	"github.com/pith-os/pith/examples/classifier/shapes"
)

func main() {
	out := flag.String("o", "weights.bin", "file to write")
	images := flag.Int("images", 30_000, "number of images to learn from")
	flag.Parse()

	r := rand.New(rand.NewPCG(1, 1))
	n := network.New(r, network.Side*network.Side, 24, len(shapes.Names))
	for i := range *images {
		x, class := sample(r)
		progress := float32(i) / float32(*images)
		n.Learn(x, class, 0.02*(1-progress))
	}
	const tests = 2000
	right := 0
	for range tests {
		x, class := sample(r)
		if p := n.Classify(x); p[class] > 0.5 {
			right++
		}
	}
	fmt.Printf("right in %.1f%% of %d images it had not seen\n", 100*float64(right)/tests, tests)
	data, err := n.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, data, 0o644); err != nil {
		log.Fatal(err)
	}
}

// sample draws an image of a random kind and reduces it.
func sample(r *rand.Rand) (x []float32, class int) {
	class = r.IntN(len(shapes.Names))
	x, err := network.Features(shapes.Draw(r, class))
	if err != nil {
		log.Fatalf("an image of a %s: %v", shapes.Names[class], err)
	}
	return x, class
}
