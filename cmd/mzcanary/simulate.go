package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"mzcanary/internal/sim"
)

func (p *program) simulate() *cobra.Command {
	var listen, serverVersion string
	var empty bool
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run only the simulated Materialize, for trying a driver against it",
		Long: `Serves the simulated Materialize until interrupted. It holds two versions, prod and prod_deploy, of an indexed view
"answer" and a materialized view "total" over public.base, unless --empty. What it does not support it refuses with 0A000.`,
		Example: "  mzcanary simulate --listen 127.0.0.1:6875\n  psql 'host=127.0.0.1 port=6875 user=materialize options=--search_path=prod'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := sim.New(sim.Options{Version: serverVersion})
			if !empty {
				if err := twoVersions(cmd.Context(), s); err != nil {
					return err
				}
			}
			ln, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			host, port, _ := strings.Cut(ln.Addr().String(), ":")
			fmt.Fprintf(p.out, "simulated Materialize on %s\n  psql 'host=%s port=%s user=materialize options=--search_path=prod'\n", ln.Addr(), host, port)
			return s.Serve(cmd.Context(), ln)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:6875", "`address` to listen on")
	cmd.Flags().StringVar(&serverVersion, "server-version", "", "Materialize version to behave as, such as v26.4.0-dev.0")
	cmd.Flags().BoolVar(&empty, "empty", false, "without the two example versions")
	return cmd
}
