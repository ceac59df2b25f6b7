// Package network is a small neural network that classifies images, in plain Go
// with one hidden layer. The classifier uses it, and train makes its weights.
package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
)

// Network has Inputs inputs, a hidden layer of rectified linear units, and one
// output per class. The weights of a unit are adjacent, with its bias last.
type Network struct {
	Inputs, Hidden, Classes int
	first, second           []float32
}

// header is the header of a file of weights, little endian. The weights follow
// it.
type header struct {
	Magic                   [4]byte
	Inputs, Hidden, Classes uint32
}

var magic = [4]byte{'P', 'N', 'N', '1'}

// maxUnits limits the sizes that a file may specify.
const maxUnits = 1 << 16

// New returns an untrained network with small random weights.
func New(r *rand.Rand, inputs, hidden, classes int) *Network {
	n := &Network{Inputs: inputs, Hidden: hidden, Classes: classes}
	fill := func(units, inputs int) []float32 {
		w := make([]float32, units*(inputs+1))
		for i := range w {
			w[i] = float32(r.NormFloat64() * math.Sqrt(2/float64(inputs)))
		}
		return w
	}
	n.first, n.second = fill(hidden, inputs), fill(classes, hidden)
	return n
}

// Classify returns the probability of each class.
func (n *Network) Classify(x []float32) []float32 {
	_, p := n.forward(x)
	return p
}

func (n *Network) forward(x []float32) (hidden, p []float32) {
	hidden = layer(n.first, x, n.Hidden)
	for i, v := range hidden {
		hidden[i] = max(v, 0)
	}
	p = layer(n.second, hidden, n.Classes)
	softmax(p)
	return hidden, p
}

func layer(weights, x []float32, units int) []float32 {
	out := make([]float32, units)
	for u := range out {
		w := weights[u*(len(x)+1):][:len(x)+1]
		sum := w[len(x)]
		for i, v := range x {
			sum += w[i] * v
		}
		out[u] = sum
	}
	return out
}

func softmax(p []float32) {
	highest := p[0]
	for _, v := range p {
		highest = max(highest, v)
	}
	var sum float32
	for i, v := range p {
		p[i] = float32(math.Exp(float64(v - highest)))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
}

// Learn changes the weights by one step of gradient descent, towards class as
// the answer for x.
func (n *Network) Learn(x []float32, class int, rate float32) {
	hidden, p := n.forward(x)
	p[class]-- // the gradient of cross entropy with softmax
	back := make([]float32, n.Hidden)
	for c, g := range p {
		w := n.second[c*(n.Hidden+1):][:n.Hidden+1]
		for h, v := range hidden {
			back[h] += g * w[h]
			w[h] -= rate * g * v
		}
		w[n.Hidden] -= rate * g
	}
	for h, g := range back {
		if hidden[h] == 0 {
			continue // the gradient of an inactive rectified linear unit is 0
		}
		w := n.first[h*(n.Inputs+1):][:n.Inputs+1]
		for i, v := range x {
			w[i] -= rate * g * v
		}
		w[n.Inputs] -= rate * g
	}
}

// MarshalBinary returns the weights in the file format.
func (n *Network) MarshalBinary() ([]byte, error) {
	var b bytes.Buffer
	h := header{magic, uint32(n.Inputs), uint32(n.Hidden), uint32(n.Classes)}
	for _, part := range []any{h, n.first, n.second} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// UnmarshalBinary reads weights in the file format.
func (n *Network) UnmarshalBinary(data []byte) error {
	r := bytes.NewReader(data)
	var h header
	if err := binary.Read(r, binary.LittleEndian, &h); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	if h.Magic != magic || max(h.Inputs, h.Hidden, h.Classes) > maxUnits || min(h.Inputs, h.Hidden, h.Classes) < 1 {
		return fmt.Errorf("weights: invalid header %v", h)
	}
	*n = Network{Inputs: int(h.Inputs), Hidden: int(h.Hidden), Classes: int(h.Classes)}
	first, second := n.Hidden*(n.Inputs+1), n.Classes*(n.Hidden+1)
	if r.Len() != 4*(first+second) {
		return fmt.Errorf("weights: %d bytes, want %d", r.Len(), 4*(first+second))
	}
	n.first, n.second = make([]float32, first), make([]float32, second)
	for _, part := range [][]float32{n.first, n.second} {
		if err := binary.Read(r, binary.LittleEndian, part); err != nil {
			return fmt.Errorf("weights: %w", err)
		}
	}
	return nil
}
