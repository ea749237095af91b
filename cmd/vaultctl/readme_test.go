package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestReadme: README.md and the help have an example of each command.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range allCommands(testApp(t, nil).root()) {
		if !strings.Contains(string(readme), "`"+c.CommandPath()) {
			t.Errorf("README.md has no example of %q", c.CommandPath())
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("the help of %q has no example", c.CommandPath())
		}
	}
}

// allCommands returns every command that does something, and not only shows its help.
func allCommands(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	if c.RunE != nil && c.Example != "" || !c.HasSubCommands() {
		all = append(all, c)
	}
	for _, sub := range c.Commands() {
		all = append(all, allCommands(sub)...)
	}
	return all
}
