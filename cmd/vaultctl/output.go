package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/embedvault/vault"
)

// print writes v as JSON, or text as it is.
func (a *app) print(v any, text string) error {
	if !a.flags.json {
		_, err := fmt.Fprintln(a.out, harmless(strings.TrimRight(text, "\n")))
		return err
	}
	return writeJSON(a.out, v)
}

// writeJSON writes a line of JSON, with escapes for what a terminal would take for a
// command, or would show otherwise than it is.
func writeJSON(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	line := make([]byte, 0, len(text)+1)
	for _, r := range string(text) {
		switch {
		case strconv.IsPrint(r):
			line = utf8.AppendRune(line, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			line = fmt.Appendf(line, `\u%04x\u%04x`, high, low)
		default:
			line = fmt.Appendf(line, `\u%04x`, r)
		}
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// counts writes a report: its name and the numbers that are not zero.
func counts(what string, numbers ...any) string {
	var b strings.Builder
	b.WriteString(what + ":")
	n := 0
	for i := 0; i < len(numbers); i += 2 {
		if v := numbers[i+1].(int64); v != 0 || i == 0 {
			if n++; n > 1 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, " %d %s", v, numbers[i])
		}
	}
	return b.String()
}

// failure is one thing that a pass left as it was.
type failure struct {
	KeyID       string `json:"key_id,omitempty"`
	ContextHash string `json:"context_hash,omitempty"`
	KEK         string `json:"kek,omitempty"` // of the wrapping that doesn't unwrap
	Object      string `json:"object,omitempty"`
	VersionID   string `json:"version_id,omitempty"`
	Version     uint32 `json:"version,omitempty"`  // of the key
	Objects     int64  `json:"objects,omitempty"`  // that refer to it
	Children    int64  `json:"children,omitempty"` // keys under it
	Error       string `json:"error"`
}

// failed writes failures for people, one a line.
func failed(list []failure) string {
	var b strings.Builder
	for _, f := range list {
		b.WriteString("\n  ")
		if f.Object != "" {
			fmt.Fprintf(&b, "object %q version %s: ", f.Object, f.VersionID)
		} else if f.KEK != "" {
			fmt.Fprintf(&b, "key %s, its wrapping under %s: ", f.KeyID, f.KEK)
		} else if f.KeyID != "" {
			fmt.Fprintf(&b, "key %s: ", f.KeyID)
		}
		b.WriteString(strings.ReplaceAll(f.Error, "\n", " "))
	}
	return b.String()
}

// pairsText writes a context as it is given on the command line.
func pairsText(kc vault.KeyContext) string {
	words := make([]string, 0, len(kc))
	for _, k := range slices.Sorted(maps.Keys(kc)) {
		words = append(words, k+"="+kc[k])
	}
	return strings.Join(words, " ")
}

// day writes a time for people.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// lines writes one JSON object or one line of text for each item, as they come.
type lines struct {
	a *app
	n int
}

func (a *app) lines() *lines { return &lines{a: a} }

func (l *lines) add(v any, header, text string) error {
	l.n++
	if l.a.flags.json {
		return writeJSON(l.a.out, v)
	}
	if l.n == 1 && header != "" {
		if _, err := io.WriteString(l.a.out, header+"\n"); err != nil {
			return err
		}
	}
	// A name with a line break in it must not look like two.
	_, err := io.WriteString(l.a.out, harmless(strings.ReplaceAll(text, "\n", `\n`))+"\n")
	return err
}

// harmless replaces what a terminal would take for a command: whoever writes to the
// database can name objects.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < 0x20 && r != '\n' || r >= 0x7f && r <= 0x9f {
			return utf8.RuneError
		}
		return r
	}, text)
}
