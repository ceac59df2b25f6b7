// Package shapes draws the images for training and tests of the classifier.
// They look like hand-drawn marks of a few kinds, of any size, position, angle,
// stroke and brightness, with noise.
package shapes

import (
	"image"
	"image/color"
	"math"
	"math/rand/v2"
)

// Names are the kinds, in the order of the network's outputs.
var Names = []string{"circle", "cross", "ring", "square", "triangle"}

// Draw draws an image of kind k. r determines everything else.
func Draw(r *rand.Rand, k int) *image.Gray {
	side := 32 + r.IntN(65)
	m := mark{
		radius: float64(side) * (0.22 + 0.16*r.Float64()),
		turn:   (r.Float64() - 0.5) * math.Pi / 6,
		squash: 0.85 + 0.3*r.Float64(),
	}
	slack := float64(side)/2 - m.radius*1.15
	m.x = float64(side)/2 + slack*(2*r.Float64()-1)
	m.y = float64(side)/2 + slack*(2*r.Float64()-1)
	paper, ink := 0.75+0.25*r.Float64(), 0.4*r.Float64()
	if r.IntN(2) == 0 {
		paper, ink = ink, paper // light on dark
	}
	inside := kinds[Names[k]]
	img := image.NewGray(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			covered := m.coverage(inside, x, y)
			v := paper + (ink-paper)*covered + 0.04*r.NormFloat64()
			img.SetGray(x, y, color.Gray{Y: uint8(255 * min(max(v, 0), 1))})
		}
	}
	return img
}

// mark is the position of a shape in an image.
type mark struct {
	x, y, radius, turn, squash float64
}

// coverage returns the part of a pixel that is inside the shape, estimated from
// four samples.
func (m mark) coverage(inside func(u, v float64) bool, x, y int) float64 {
	hits := 0.0
	sin, cos := math.Sincos(m.turn)
	for _, d := range [][2]float64{{0.25, 0.25}, {0.75, 0.25}, {0.25, 0.75}, {0.75, 0.75}} {
		dx, dy := (float64(x)+d[0]-m.x)/m.radius, (float64(y)+d[1]-m.y)/m.radius
		if inside((dx*cos+dy*sin)*m.squash, dy*cos-dx*sin) {
			hits++
		}
	}
	return hits / 4
}

// kinds define which points in or near the unit disc a shape covers. v grows
// downwards.
var kinds = map[string]func(u, v float64) bool{
	"circle": func(u, v float64) bool { return u*u+v*v < 1 },
	"cross": func(u, v float64) bool {
		a, b := math.Abs(u), math.Abs(v)
		return max(a, b) < 1 && min(a, b) < 0.28
	},
	"ring": func(u, v float64) bool {
		d := u*u + v*v
		return d < 1 && d > 0.45
	},
	"square":   func(u, v float64) bool { return max(math.Abs(u), math.Abs(v)) < 0.85 },
	"triangle": func(u, v float64) bool { return v < 0.7 && v > -1+1.7*math.Abs(u) },
}
