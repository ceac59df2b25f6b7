package image

import (
	"fmt"

	"github.com/pith-os/pith/internal/version"
	"github.com/pith-os/pith/libos/boot"
)

// FormatVersion is the version of the image format that this package writes. Every change of
// the format must increment it.
//
// oldestFormat is the oldest version that Open reads. Before the first release it equals
// FormatVersion. From the first release on it is two versions older.
const (
	FormatVersion = 1
	oldestFormat  = FormatVersion
)

// versions is the part of a manifest that all versions of the format have.
type versions struct {
	Format int    `json:"format"` // version of the image format
	Boot   int    `json:"boot"`   // version of the contract between monitor and image (package boot)
	Pith   string `json:"pith"`   // version of the pith that built the image
}

// check returns an error if this pith does not run images of these versions.
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
	return fmt.Errorf("the image was built by %s with version %d of the %s, and this pith (%s) runs %s: build it again with this pith, or run it with the pith that built it",
		by, has, what, version.Get(), boot.Accepted(oldest, newest))
}
