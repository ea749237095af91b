package gcpkms_test

import (
	"os"
	"strings"
	"testing"
)

// The first piece of Go in the documentation is the body of Example_production, the
// second is in rest_test.go.
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
	_, rest, _ = strings.Cut(rest, "```go\n")
	transport, _, closed := strings.Cut(rest, "```")
	if !closed || !strings.Contains(string(must(os.ReadFile("rest_test.go"))(t)), transport) {
		t.Errorf("rest_test.go has not:\n%s", transport)
	}
	if !strings.Contains(source, "func Example_production() {\n"+body.String()+"}\n") {
		t.Errorf("example_test.go doesn't have this as Example_production's body:\n%s", body.String())
	}
}
