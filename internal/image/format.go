package image

import (
	"fmt"

	"github.com/pith-os/pith/libos/boot"
)

// FormatVersion is the version of the image format that this package writes. Whoever
// changes the format increments it.
//
// oldestFormat is the oldest version that Open reads. Before the first release that is
// FormatVersion; from then on it is to be two versions older.
const (
	FormatVersion = 1
	oldestFormat  = FormatVersion
)

// versions is the part of a manifest that is the same in every version.
type versions struct {
	Format int    `json:"format"` // of the image
	Boot   int    `json:"boot"`   // of the contract between monitor and image (package boot)
	Pith   string `json:"pith"`   // that built the image
}

// check reports an error if this pith does not run such images.
func (v versions) check() error {
	what, has, oldest, newest := "format", v.Format, oldestFormat, FormatVersion
	if oldest <= has && has <= newest {
		if boot.Accepts(v.Boot) {
			return nil
		}
		what, has, oldest, newest = "boot contract", v.Boot, boot.OldestVersion, boot.Version
	}
	by := "an unknown pith"
	if v.Pith != "" {
		by = "pith " + v.Pith
	}
	return fmt.Errorf("the image was built by %s with version %d of the %s, and this pith (%s) runs %s: build it again with this pith, or run it with the one that built it",
		by, has, what, Version(), boot.Accepted(oldest, newest))
}
