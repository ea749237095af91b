package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	const want = `found by e-mail: Ben, tax number 756.9217.0769.85, printed: [ENCRYPTED]
  acme    Ann  756.1234.5678.97
  acme    Ben  756.9217.0769.85
  globex  Eve  756.3047.5009.62
acme's key was rotated, and 2 tax numbers were re-encrypted
globex was cut off
  acme    Ann  756.1234.5678.97
  acme    Ben  756.9217.0769.85
  globex  Eve  (gone for good)
`
	dir := t.TempDir()
	var out strings.Builder
	if err := runIn(t.Context(), dir, &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Fatalf("got\n%s\nwant\n%s", out.String(), want)
	}
	files, err := filepath.Glob(filepath.Join(dir, "app.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no database", err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"756.", "acme.example", "Acme.example", "globex.example"} {
			if strings.Contains(string(b), secret) {
				t.Errorf("%s holds %q", filepath.Base(path), secret)
			}
		}
	}
}

// The Go of docs/FIELDS.md, "With GORM", is this program's, line by line and in order
// within each block.
func TestFieldsPageIsTheProgram(t *testing.T) {
	page, err := os.ReadFile("../../docs/FIELDS.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## With GORM\n")
	if !ok {
		t.Fatal("the page has no section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```go\n")[1:]
	if len(blocks) < 3 {
		t.Fatalf("%d blocks of Go, want 3 or more", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		lines := strings.Split(string(source), "\n")
		for _, want := range strings.Split(strings.TrimSpace(block), "\n") {
			if strings.TrimSpace(want) == "" {
				continue
			}
			at := 0
			for at < len(lines) && strings.TrimSpace(lines[at]) != strings.TrimSpace(want) {
				at++
			}
			if at == len(lines) {
				t.Fatalf("main.go doesn't have, in its place, the page's line\n%s", want)
			}
			lines = lines[at+1:]
		}
	}
}
