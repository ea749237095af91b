package vaultsqltest

import (
	"os"
	"strings"
	"testing"
)

// The code of docs/FIELDS.md, "database/sql and sqlx", is that of example_test.go.
func TestDocsAreTheExample(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/FIELDS.md"))(t))
	example := string(must(os.ReadFile("example_test.go"))(t))
	_, section, ok := strings.Cut(page, "\n## database/sql and sqlx\n")
	if !ok {
		t.Fatal("docs/FIELDS.md has lost its section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```go\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("%d blocks of Go", len(blocks))
	}
	for _, b := range blocks {
		code, _, _ := strings.Cut(b, "```")
		for _, part := range strings.Split(strings.TrimSpace(code), "\n\n") { // what stands between may be left out
			if !strings.Contains(unindented(example), unindented(part)) {
				t.Errorf("the example doesn't have\n%s", part)
			}
		}
	}
}

// unindented is code without the white space at the beginning of its lines.
func unindented(code string) string {
	lines := strings.Split(code, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return strings.Join(lines, "\n")
}
