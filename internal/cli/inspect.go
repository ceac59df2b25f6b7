package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pith-os/pith/internal/image"
)

func (s *session) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "inspect FILE",
		Short:   "Print what an image is made of",
		Long:    "Check the digest of an image and print its manifest as JSON.",
		Example: "  pith inspect web.pith",
		Args:    oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			img, err := image.Open(args[0])
			var file *os.PathError
			if errors.As(err, &file) {
				return fmt.Errorf("inspect: %w", err) // it names the file
			}
			if err != nil {
				return fmt.Errorf("inspect: %s: %w", args[0], err)
			}
			defer img.Close()
			out, err := img.Manifest.Indented()
			if err != nil {
				return err
			}
			_, err = io.WriteString(s.stdout, out)
			return err
		},
	}
}
