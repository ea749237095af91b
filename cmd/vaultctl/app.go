package main

import (
	"context"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is one run of the program: its streams, its environment and what the flags
// say. Nothing of it is global, so that tests run many.
type app struct {
	in          io.Reader
	out, errOut io.Writer
	getenv      func(string) string
	now         func() time.Time
	clouds      clouds

	interactive bool // somebody sits at a terminal and can be asked
	bar         bool // stderr is a terminal

	flags globals
	args  []string // as given, for the command that resumes
	ran   bool     // a command began: what fails from then on is no error of usage

	mu     sync.Mutex // guards hidden
	hidden []string   // secrets that no output may have
}

// newApp returns an app on these streams.
func newApp(in io.Reader, out, errOut io.Writer, getenv func(string) string) *app {
	a := &app{in: in, out: out, errOut: errOut, getenv: getenv, now: time.Now, clouds: realClouds()}
	a.bar = isTerminal(errOut)
	a.interactive = isTerminal(in) && a.bar
	return a
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// run runs the command that args say, and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	a.args = args
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.errOut)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.ran {
		err = usage("%w", err)
		a.flags.json = a.flags.json || wantsJSON(args) // flags may not have been read so far
	}
	return a.end(ctx, err)
}

// wantsJSON reports whether the arguments have --json, also if they are wrong.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	return false
}

// group makes c a command that only has others below it. Cobra would show the help of
// it for one that isn't there, and call that a success.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return usage("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return c
}

// command fills in what all commands have in common.
func (a *app) command(c *cobra.Command, run func(ctx context.Context, args []string) error) *cobra.Command {
	c.RunE = func(cmd *cobra.Command, args []string) error {
		a.ran = true
		ctx, err := a.acting(cmd.Context())
		if err != nil {
			return err
		}
		return run(ctx, args)
	}
	c.DisableFlagsInUseLine = true
	return c
}

// longPassword is how long a password is that no word of a text is by chance.
const longPassword = 8

// hidePassword hides a password in the forms in which a library might repeat it: one
// that is short only where it stands as the password of a URL, a DSN or a setting, for
// it may be part of any word ("vault").
func (a *app) hidePassword(password string) {
	for _, p := range []string{password, url.QueryEscape(password), url.PathEscape(password)} {
		if p == "" {
			continue
		}
		a.hide(":"+p+"@", "password="+p, "password='"+p+"'")
		if len(password) >= longPassword {
			a.hide(p)
		}
	}
}

// hide remembers a secret.
func (a *app) hide(secrets ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range secrets {
		if s != "" && !slices.Contains(a.hidden, s) {
			a.hidden = append(a.hidden, s)
		}
	}
}

// clean returns text without the secrets.
func (a *app) clean(text string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.hidden {
		text = strings.ReplaceAll(text, s, "***")
	}
	return text
}
