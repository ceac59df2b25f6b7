package network

import (
	"errors"
	"image"
	"image/color"
	"slices"
)

// Side is the width and height of the raster that images are reduced to. The
// network has Side*Side inputs.
const Side = 16

// errBlank is the error for an image without a mark.
var errBlank = errors.New("the image is blank: all pixels have about the same brightness")

// contrast is the smallest difference in brightness, of 255, that counts as
// ink.
const contrast = 40

// Features converts an image to the inputs of the network. It cuts out the mark
// and scales it to the raster; 0 is paper and 1 is ink. Paper is the brightness
// of most of the border, so a mark may be dark on light or light on dark.
func Features(img image.Image) ([]float32, error) {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	if w < Side || h < Side {
		return nil, errors.New("the image is smaller than 16 by 16")
	}
	gray := make([]int, w*h)
	for y := range h {
		for x := range w {
			gray[y*w+x] = int(color.GrayModel.Convert(img.At(b.Min.X+x, b.Min.Y+y)).(color.Gray).Y)
		}
	}
	paper := border(gray, w, h)
	ink, deepest := gray, 0
	for i, v := range gray {
		ink[i] = max(v-paper, paper-v)
		deepest = max(deepest, ink[i])
	}
	if deepest < contrast {
		return nil, errBlank
	}
	box, err := extent(ink, w, h, deepest/2)
	if err != nil {
		return nil, err
	}
	return raster(ink, w, box, deepest), nil
}

// border returns the median brightness of the outermost pixels.
func border(gray []int, w, h int) int {
	edge := slices.Concat(gray[:w], gray[(h-1)*w:])
	for y := range h {
		edge = append(edge, gray[y*w], gray[y*w+w-1])
	}
	slices.Sort(edge)
	return edge[len(edge)/2]
}

// extent returns the smallest square that holds all ink above the threshold.
// The square may extend beyond the image.
func extent(ink []int, w, h, threshold int) (image.Rectangle, error) {
	var box image.Rectangle
	for y := range h {
		for x := range w {
			if ink[y*w+x] > threshold {
				box = box.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	side := max(box.Dx(), box.Dy())
	if side < 4 {
		return box, errBlank
	}
	corner := image.Pt(box.Min.X-(side-box.Dx())/2, box.Min.Y-(side-box.Dy())/2)
	return image.Rectangle{corner, corner.Add(image.Pt(side, side))}, nil
}

// raster computes the average ink in each cell of the box.
func raster(ink []int, w int, box image.Rectangle, deepest int) []float32 {
	out := make([]float32, Side*Side)
	h := len(ink) / w
	for cy := range Side {
		for cx := range Side {
			x0, x1 := cell(box.Min.X, box.Dx(), cx)
			y0, y1 := cell(box.Min.Y, box.Dy(), cy)
			sum := 0
			for y := max(y0, 0); y < min(y1, h); y++ {
				for x := max(x0, 0); x < min(x1, w); x++ {
					sum += ink[y*w+x]
				}
			}
			out[cy*Side+cx] = float32(sum) / float32((x1-x0)*(y1-y0)*deepest)
		}
	}
	return out
}

// cell returns the range of pixels in cell n. It has at least one pixel.
func cell(from, size, n int) (lo, hi int) {
	lo = from + n*size/Side
	return lo, max(from+(n+1)*size/Side, lo+1)
}
