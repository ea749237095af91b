package gcpkms_test

import (
	"os"
	"strings"
	"testing"
)

// The first piece of Go in the documentation is the body of Example_production.
func TestDocumentationCompiles(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/providers/google-cloud-kms.md"))(t))
	source := string(must(os.ReadFile("example_test.go"))(t))
	_, rest, found := strings.Cut(page, "```go\n")
	snippet, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("no Go in the page")
	}
	var body strings.Builder
	for line := range strings.Lines(snippet) {
		if strings.TrimSpace(line) != "" {
			body.WriteByte('\t')
		}
		body.WriteString(line)
	}
	if !strings.Contains(source, "func Example_production() {\n"+body.String()+"}\n") {
		t.Errorf("example_test.go doesn't have this as Example_production's body:\n%s", body.String())
	}
}
