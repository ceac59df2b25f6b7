package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pith-os/pith/internal/doctor"
	"github.com/pith-os/pith/internal/monitor/kvm"
	"github.com/pith-os/pith/internal/monitor/process"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

func (s *session) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this machine can run images on, and how to get more",
		Long: `Look at what building and running images needs. The exit code is 1 when
something is missing without which one of them does not work.`,
		Example: "  pith doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			missing := false
			probes := doctor.Probes{
				Process: process.Monitor{}.Probe, KVM: kvm.Monitor{}.Probe, QEMU: qemu.Monitor{}.Probe, Auto: explainAuto,
			}
			w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
			for _, c := range doctor.Run(cmd.Context(), probes) {
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
