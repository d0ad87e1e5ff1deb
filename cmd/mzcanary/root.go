package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"mzcanary/config"
	"mzcanary/internal/admin"
)

// The exit codes; docs/guide.md has the table.
const (
	exitDone        = admin.ExitDone
	exitUsage       = admin.ExitUsage
	exitConnect     = admin.ExitConnect
	exitRefused     = admin.ExitRefused
	exitNotReady    = admin.ExitNotReady
	exitRegress     = admin.ExitRegress
	exitRolledBack  = admin.ExitRolledBack
	exitHuman       = admin.ExitHuman
	exitRace        = admin.ExitRace
	exitInterrupted = admin.ExitInterrupted
)

const exitHelp = `Exit codes: 0 done · 1 usage or configuration · 2 cannot connect · 3 preflight refused · 4 not ready in time ·
5 the judge said regress · 6 rolled back · 7 needs a human · 8 lost a race with another deployment · 130 interrupted.`

// program is what every command works with.
type program struct {
	in       io.Reader
	out, err io.Writer

	configFile string
	configSet  bool // --config was given: the file must exist
	set        []string
	deployment string
	adminAddr  string
	output     string
}

// exit ends a command with a code, after its words have been printed.
type exit struct{ code int }

func (e exit) Error() string { return fmt.Sprintf("exit %d", e.code) }

// run is the program; it returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out, err io.Writer) int {
	p := &program{in: in, out: out, err: err}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(err)
	failed := root.ExecuteContext(ctx)
	if wantsJSON(args) {
		p.output = "json" // also when the arguments could not be read to their end
	}
	return p.code(ctx, failed)
}

// wantsJSON looks for --output json without understanding the rest; the last one
// counts, as it does for the flags.
func wantsJSON(args []string) bool {
	last := ""
	for i, a := range args {
		if a == "--" {
			break
		}
		if value, is := strings.CutPrefix(a, "--output="); is {
			last = value
		} else if a == "--output" && i+1 < len(args) {
			last = args[i+1]
		}
	}
	return last == "json"
}

// code prints an error once and turns it into an exit code.
func (p *program) code(ctx context.Context, err error) int {
	var ended exit
	var refusal *admin.Refusal
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &ended):
		return ended.code
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return p.printError(exitInterrupted, errors.New("interrupted"))
	case errors.As(err, &refusal):
		p.printRefusal(refusal)
		return refusal.Exit
	}
	return p.printError(exitUsage, err)
}

// failure is an error that is no refusal, as --output json prints it.
type failure struct {
	Exit  int    `json:"exit"`
	Error string `json:"error"`
	// Faults are those of the configuration, one by one.
	Faults []config.Fault `json:"faults,omitempty"`
}

func (p *program) printError(code int, err error) int {
	if p.output != "json" {
		fmt.Fprintln(p.err, "mzcanary: "+err.Error())
		return code
	}
	f := failure{Exit: code, Error: err.Error()}
	var faults *config.Faults
	if errors.As(err, &faults) {
		f.Faults = faults.All
	}
	p.json(f)
	return code
}

func (p *program) printRefusal(r *admin.Refusal) {
	if p.output == "json" {
		p.json(r)
		return
	}
	fmt.Fprintln(p.err, "mzcanary: "+r.Sentence)
	p.printFindings(p.err, r.Findings)
	if r.Next != "" {
		fmt.Fprintln(p.err, next(r.Next))
	}
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "mzcanary",
		Short: "Safe releases for Materialize: canary traffic, swap and cleanup without an error",
		Long: `mzcanary stands between applications and Materialize, sends a chosen share of their sessions to the new version of
the objects, watches both versions, and when the new one has proven itself swaps it into production and cleans up.

` + exitHelp,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			p.configSet = cmd.Flags().Changed("config")
			if p.output != "text" && p.output != "json" {
				return fmt.Errorf("--output must be text or json, not %q", p.output)
			}
			return nil
		},
	}
	f := root.PersistentFlags()
	f.StringVarP(&p.configFile, "config", "c", "deploy.yaml", "configuration `file`")
	f.StringArrayVar(&p.set, "set", nil, "`path=value`, wins over the file (repeatable)")
	f.StringVarP(&p.deployment, "deployment", "d", "", "deployment `name`; not needed when there is one")
	f.StringVar(&p.adminAddr, "admin", "", "`address` of a running serve's API (default: admin.address)")
	f.StringVar(&p.output, "output", "text", "text or json")
	root.AddCommand(p.demo(), p.check(), p.serve(), p.traffic(), p.rollout(), p.sessions(), p.simulate(), p.versionCommand())
	return root
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Example: "  mzcanary version",
		RunE: func(*cobra.Command, []string) error {
			if p.output == "json" {
				return p.json(map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(p.out, "mzcanary "+version)
			return err
		}}
}

// load reads the configuration as the global flags say. Without --config the
// default file may be missing.
func (p *program) load() (*config.Config, error) {
	cfg, report, err := config.Load(config.LoadOptions{File: p.configFile, FileRequired: p.configSet, Set: p.set})
	if err != nil {
		return nil, err
	}
	for _, n := range report.Notes {
		fmt.Fprintln(p.err, "note: "+n.String())
	}
	return cfg, nil
}

// client speaks to the running serve: --admin, else the configured address.
func (p *program) client() (*admin.Client, error) {
	if p.adminAddr != "" {
		return admin.NewClient(p.adminAddr), nil
	}
	if _, err := os.Stat(p.configFile); errors.Is(err, fs.ErrNotExist) && !p.configSet && len(p.set) == 0 {
		return admin.NewClient(config.Default().Admin.Address), nil
	}
	cfg, err := p.load()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(cfg.Admin.Address), nil
}

// one chooses the deployment a command is about.
func (p *program) one(ctx context.Context, c *admin.Client) (string, error) {
	if p.deployment != "" {
		return p.deployment, nil
	}
	all, err := c.Statuses(ctx)
	if err != nil {
		return "", err
	}
	if len(all) == 1 {
		return all[0].Deployment, nil
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Deployment
	}
	return "", fmt.Errorf("there are %d deployments (%v): name one with --deployment", len(all), names)
}

// target is what a command about one deployment needs: the client and the name.
func (p *program) target(ctx context.Context) (*admin.Client, string, error) {
	c, err := p.client()
	if err != nil {
		return nil, "", err
	}
	name, err := p.one(ctx, c)
	return c, name, err
}

func (p *program) json(v any) error {
	e := json.NewEncoder(p.out)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// who signs what is asked for: the account and the machine.
func who() string {
	name := os.Getenv("USER")
	if name == "" {
		name = fmt.Sprintf("uid %d", os.Getuid())
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
