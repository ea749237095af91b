package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// file is one file of vectors: those that were there, then the new ones.
type file struct {
	name    string
	vectors []json.RawMessage
	added   int
}

// errChanged is matched when a case no longer makes the vector that is there.
var errChanged = errors.New("a committed vector would change; give the case another name")

// merge reads the file, if it is there, and adds the cases that it doesn't
// have. A committed vector without a case is kept.
func merge(dir, name string, cases []any) (file, error) {
	f := file{name: name}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err == nil {
		if err := json.Unmarshal(b, &f.vectors); err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
	}
	have := map[string][]byte{}
	for _, raw := range f.vectors {
		n, err := vectorName(raw)
		if err != nil {
			return f, fmt.Errorf("%s: %w", name, err)
		}
		have[n] = raw
	}
	seen := map[string]bool{}
	for _, c := range cases {
		raw, err := encode(c)
		if err != nil {
			return f, err
		}
		n, err := vectorName(raw)
		if err != nil {
			return f, err
		}
		if seen[n] {
			return f, fmt.Errorf("%s: two cases have the name %s", name, n)
		}
		seen[n] = true
		old, ok := have[n]
		if !ok {
			f.vectors = append(f.vectors, raw)
			f.added++
		} else if !sameJSON(old, raw) {
			return f, fmt.Errorf("%s: %s: %w", name, n, errChanged)
		}
	}
	return f, nil
}

func vectorName(raw []byte) (string, error) {
	var v struct{ Name string }
	err := json.Unmarshal(raw, &v)
	return v.Name, err
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

// encode is v as JSON, with < > & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// bytes is the file, a field on each line.
func (f file) bytes() ([]byte, error) {
	all, err := encode(f.vectors)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, all, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func (f file) write(dir string) error {
	b, err := f.bytes()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, f.name), b, 0o644)
}

func writeManifest(dir string, files []file) error {
	var all []string
	for _, f := range files {
		b, err := f.bytes()
		if err != nil {
			return err
		}
		lines, err := vectors.Lines(f.name, b)
		if err != nil {
			return err
		}
		all = append(all, lines...)
	}
	return os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte(strings.Join(all, "\n")+"\n"), 0o644)
}
