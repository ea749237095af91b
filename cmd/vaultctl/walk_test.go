package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWalkthroughs: the commands in docs/OPERATIONS.md, "Walk-throughs", are those that
// TestScripts runs: testdata/script/walk_*.txt, whose first line is the heading. What a
// script runs besides, to make the world and to look at it, has "exec" before it.
func TestWalkthroughs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := walkthroughs(string(doc))
	scripts, err := filepath.Glob("testdata/script/walk_*.txt")
	if err != nil || len(scripts) != 8 {
		t.Fatalf("%d scripts of walk-throughs, want 8: %v", len(scripts), err)
	}
	for _, path := range scripts {
		script, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		heading, _, _ := strings.Cut(string(script), "\n")
		heading = strings.TrimPrefix(heading, "# ")
		if got, want := scriptCommands(string(script)), documented[heading]; !slices.Equal(got, want) {
			t.Errorf("%s runs\n\t%s\nand docs/OPERATIONS.md, %q, has\n\t%s", path, strings.Join(got, "\n\t"), heading, strings.Join(want, "\n\t"))
		}
		delete(documented, heading)
	}
	for heading, commands := range documented {
		t.Errorf("docs/OPERATIONS.md, %q, has commands that no script runs: %q", heading, commands)
	}
}

// walkthroughs returns the commands of each heading below "## Walk-throughs".
func walkthroughs(doc string) map[string][]string {
	_, section, _ := strings.Cut(doc, "\n## Walk-throughs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	commands := map[string][]string{}
	heading, shell := "", false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "### "):
			heading = strings.TrimPrefix(line, "### ")
		case strings.HasPrefix(line, "```"):
			shell = line == "```sh"
		case shell && isCommand(line):
			command, _, _ := strings.Cut(line, "  #")
			commands[heading] = append(commands[heading], strings.TrimSpace(command))
		}
	}
	return commands
}

// scriptCommands returns the commands of a script that are in the documentation.
func scriptCommands(script string) []string {
	var commands []string
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "! "))
		if strings.HasPrefix(line, "vaultctl ") || strings.HasPrefix(line, "cp root-keyset") {
			commands = append(commands, line)
		}
	}
	return commands
}

// isCommand reports whether a line is no export and no comment.
func isCommand(line string) bool {
	return line != "" && !strings.HasPrefix(line, "export ") && !strings.HasPrefix(line, "#")
}
