package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Lines returns the lines of the manifest for the vectors of one file, which is
// a JSON array. A line is
//
//	SHA-256 of the vector ‖ "  " ‖ file ‖ " " ‖ name
//
// the digest being of the vector's JSON without white space between its tokens.
func Lines(file string, b []byte) ([]string, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("vectors: reading %s: %w", file, err)
	}
	lines := make([]string, len(raw))
	for i, r := range raw {
		var head struct{ Name string }
		if err := json.Unmarshal(r, &head); err != nil {
			return nil, fmt.Errorf("vectors: reading %s: %w", file, err)
		}
		if head.Name == "" || strings.ContainsAny(head.Name, " \n") {
			return nil, fmt.Errorf("vectors: %s: %q is no name for a vector", file, head.Name)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, r); err != nil {
			return nil, fmt.Errorf("vectors: reading %s: %w", file, err)
		}
		lines[i] = fmt.Sprintf("%x  %s %s", sha256.Sum256(compact.Bytes()), file, head.Name)
	}
	return lines, nil
}

// Manifest returns the lines that the manifest must have: those of every file,
// in the order of [Files].
func Manifest() ([]string, error) {
	d, err := Dir()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, file := range Files() {
		b, err := os.ReadFile(filepath.Join(d, file))
		if err != nil {
			return nil, fmt.Errorf("vectors: %w", err)
		}
		lines, err := Lines(file, b)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// CommittedManifest returns the lines that the manifest has.
func CommittedManifest() ([]string, error) {
	d, err := Dir()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(d, manifestName))
	if err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	return SplitManifest(b), nil
}

// SplitManifest returns the lines of a manifest.
func SplitManifest(b []byte) []string {
	text := strings.ReplaceAll(string(b), "\r\n", "\n") // a checkout may have changed the line ends
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// ErrShrunk is matched when a manifest doesn't have every line that it had.
var ErrShrunk = errors.New("vectors: a committed vector was changed or removed")

// CheckGrowth reports whether the manifest now has every line that it had
// before, each once. Its errors match [ErrShrunk].
func CheckGrowth(before, now []string) error {
	seen := make(map[string]bool, len(now))
	for _, line := range now {
		if seen[line] {
			return fmt.Errorf("%w: a line stands twice: %s", ErrShrunk, line)
		}
		seen[line] = true
	}
	for _, line := range before {
		if !seen[line] {
			return fmt.Errorf("%w: %s", ErrShrunk, line)
		}
	}
	return nil
}
