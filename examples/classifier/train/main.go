// Command train makes the weights of the classifier. It draws images, trains a
// network with them, measures it with other images, and writes the weights. On
// one kind of CPU it always writes the same file.
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
	images := flag.Int("images", 30_000, "number of images for training")
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
	fmt.Printf("%.1f%% of %d new images are right\n", 100*float64(right)/tests, tests)
	data, err := n.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(*out, data, 0o644); err != nil {
		log.Fatal(err)
	}
}

// sample draws an image of a random kind and converts it to inputs.
func sample(r *rand.Rand) (x []float32, class int) {
	class = r.IntN(len(shapes.Names))
	x, err := network.Features(shapes.Draw(r, class))
	if err != nil {
		log.Fatalf("image of a %s: %v", shapes.Names[class], err)
	}
	return x, class
}
