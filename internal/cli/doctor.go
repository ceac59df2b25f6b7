package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pith-os/pith/internal/doctor"
)

func (s *session) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check what this host can build and run, and say how to get more",
		Long: `Look for what building and running images needs. The exit code is 1 if
something is missing and one of them does not work without it.`,
		Example: "  pith doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			missing := false
			w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
			for _, c := range doctor.Run(cmd.Context(), monitors, explainAuto) {
				missing = missing || c.Status == doctor.Missing
				fmt.Fprintf(w, "%s\t%s\t%s\n", c.Status, c.Name, oneLine(c.Found))
				if c.Advice != "" {
					fmt.Fprintf(w, "\t\t-> %s\n", c.Advice)
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if missing {
				return &exitError{code: exitUser, err: errors.New("doctor: something is missing: see the lines above")}
			}
			return nil
		},
	}
}
