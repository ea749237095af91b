package vault_test

import (
	"os"
	"strings"
	"testing"
)

// firstGoBlock returns the first fenced block of Go in a document.
func firstGoBlock(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "```go\n")
	if !ok {
		t.Fatalf("%s has no Go", path)
	}
	block, _, _ := strings.Cut(rest, "```")
	return strings.Split(strings.TrimSpace(block), "\n")
}

// bare returns a line of Go without its comment and outer space.
func bare(line string) string {
	code, _, _ := strings.Cut(line, " //")
	return strings.TrimSpace(code)
}

// The README's first snippet is ExampleVault, line by line and in order, with
// its errors looked at.
func TestReadmeIsTheExample(t *testing.T) {
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(example), "func ExampleVault() {")
	if !ok {
		t.Fatal("example_test.go has no ExampleVault")
	}
	body, _, _ := strings.Cut(rest, "\n}\n")
	lines := strings.Split(body, "\n")
	at := 0
	for _, want := range firstGoBlock(t, "README.md") {
		if bare(want) == "" {
			continue
		}
		for at < len(lines) && bare(lines[at]) != bare(want) {
			at++
		}
		if at == len(lines) {
			t.Fatalf("ExampleVault doesn't have, in its place, the README's line\n%s", want)
		}
	}
}

// The README's first 40 lines hold what a newcomer decides by.
func TestReadmeBegins(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	head := strings.Join(strings.SplitN(string(text), "\n", 41)[:40], "\n")
	for _, want := range []string{"What it is.", "What it is not.", "```go", "| driver |", "go run ./examples/quickstart", "go test work"} {
		if !strings.Contains(head, want) {
			t.Errorf("the first 40 lines lack %q", want)
		}
	}
	if n := len(firstGoBlock(t, "README.md")); n > 15 {
		t.Errorf("the first snippet has %d lines, at most 15 are wanted", n)
	}
}

// The code of docs/FIELDS.md is that of field_example_test.go, line by line.
func TestFieldsPageIsTheExample(t *testing.T) {
	example, err := os.ReadFile("field_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	block := strings.Join(firstGoBlock(t, "docs/FIELDS.md"), "\n")
	if !strings.Contains(strings.ReplaceAll(string(example), "\r\n", "\n"), block) {
		t.Fatal("docs/FIELDS.md's code isn't in field_example_test.go as it stands")
	}
	if !strings.Contains(block, "func userByEmail") {
		t.Fatal("docs/FIELDS.md has lost its example")
	}
}
