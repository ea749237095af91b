package hashivault_test

import (
	"os"
	"strings"
	"testing"
)

// The page of docs/providers has the code of ExampleNew, which compiles, and the
// policy of the package documentation.
func TestDocs(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	page := read("../../docs/providers/hashicorp-vault.md")
	block := func(language string) string {
		_, rest, _ := strings.Cut(page, "```"+language+"\n")
		b, _, _ := strings.Cut(rest, "```")
		return b
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(strings.ReplaceAll(s, "//\t", "")), " ") }
	if code := squeeze(block("go")); code == "" || !strings.Contains(squeeze(read("example_test.go")), code) {
		t.Error("the page's code is not in ExampleNew")
	}
	doc := squeeze(read("doc.go"))
	for line := range strings.Lines(block("hcl")) {
		if !strings.Contains(doc, squeeze(line)) {
			t.Errorf("the policy's line %q is not in doc.go", line)
		}
	}
}
