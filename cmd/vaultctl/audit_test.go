package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault/audit"
)

// A log that somebody has written to is shown on a terminal, as JSON too; and the JSON
// still says what stands there.
func TestAuditShowSendsNoCommandsToATerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	line := `{"time":"2026-11-25T10:00:00.000000Z","event":"data.read","actor":"a\u009b2Jb\u202egnp\u007f\udb40\udc01ü","duration_ns":1}` + "\n"
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"", "--json"} {
		var out, errOut bytes.Buffer
		a := newApp(strings.NewReader(""), &out, &errOut, func(string) string { return "" })
		args := []string{"audit", "show", path}
		if form != "" {
			args = append(args, form)
		}
		if code := a.run(t.Context(), args); code != 0 {
			t.Fatalf("%d: %s", code, errOut.String())
		}
		for _, bad := range []string{"\u009b", "\u202e", "\u007f", "\U000e0001"} {
			if strings.Contains(out.String(), bad) {
				t.Errorf("audit show %s writes %+q to the terminal", form, bad)
			}
		}
		if form == "" {
			continue
		}
		var got shown
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Actor != "a\u009b2Jb\u202egnp\u007f\U000e0001ü" {
			t.Errorf("%v: %+q", err, got.Actor)
		}
	}
}

// The name of a file is the choice of whoever can write to the directory that
// "audit.log.*" is expanded in: it makes no line of the report.
func TestFileNameMakesNoLineOfTheReport(t *testing.T) {
	named := []audit.Finding{{Kind: audit.Changed, File: "audit.log.1\nresult    nothing was found\n", Line: 3, Text: "x"}}
	r := audit.Report{Findings: named, Notes: named}
	var out bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &out, func(string) string { return "" })
	if err := a.print(nil, reportText(&r)); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "result    nothing was found") {
			t.Errorf("a line of its own: %q", line)
		}
	}
}
