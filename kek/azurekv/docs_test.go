package azurekv_test

import (
	"os"
	"strings"
	"testing"
)

// The code in the documentation is that of the example, which compiles and runs.
func TestDocumentationHasTheExample(t *testing.T) {
	page := string(must(os.ReadFile("../../docs/providers/azure-key-vault.md"))(t))
	code := string(must(os.ReadFile("example_test.go"))(t))
	const start, end = "func openRoot(", "\n}\n"
	i := strings.Index(code, start)
	if i < 0 {
		t.Fatal("the example has no openRoot")
	}
	function, _, _ := strings.Cut(code[i:], end)
	if !strings.Contains(page, "```go\n"+function+end+"```\n") {
		t.Error("openRoot differs from docs/providers/azure-key-vault.md")
	}
}
