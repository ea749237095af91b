// Package vectors reads the test vectors of docs/SPEC.md, which stand in
// testdata/vectors, and knows their types. Only tests and the generator use it.
//
// Committed vectors are append-only. The file MANIFEST beside them has one line
// for every vector, with the SHA-256 of what it says, and may only grow:
// [CheckGrowth] is what compares two states of it. To add vectors, write cases
// into the generator and run
//
//	go run ./internal/vectors/gen
//
// from the top of the repository; it adds what is missing and refuses to change
// what is there. To check a change against the commit it is based on:
//
//	git show BASE:testdata/vectors/MANIFEST | go run ./internal/vectors/gen -grown-from -
package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Hex is bytes that are written in JSON as lower-case hexadecimal digits.
type Hex []byte

// MarshalJSON implements [json.Marshaler].
func (h Hex) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(h)) }

// UnmarshalJSON implements [json.Unmarshaler]. Upper-case digits are refused, so
// that a value has one spelling only.
func (h *Hex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := hex.DecodeString(s)
	if err != nil {
		return err
	}
	if strings.ToLower(s) != s {
		return errors.New("vectors: upper-case hexadecimal digits")
	}
	*h = v
	return nil
}

// dir is where the vectors are, from the top of the repository.
const dir = "testdata/vectors"

// manifestName is the file that lists every vector.
const manifestName = "MANIFEST"

// Dir returns the directory with the vectors: testdata/vectors of the working
// directory or of the nearest directory above it that has one. Tests run in
// their package's directory, nested modules' too.
func Dir() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("vectors: finding %s: %w", dir, err)
	}
	for {
		d := filepath.Join(at, filepath.FromSlash(dir))
		if _, err := os.Stat(filepath.Join(d, manifestName)); err == nil {
			return d, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", fmt.Errorf("vectors: no %s above the working directory: %w", dir, os.ErrNotExist)
		}
		at = up
	}
}

// Read returns the vectors of one file, such as "envelope_v1.json". Fields that
// T doesn't have, and a file without vectors, are errors.
func Read[T any](file string) ([]T, error) {
	d, err := Dir()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(d, file))
	if err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	var vs []T
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&vs); err != nil {
		return nil, fmt.Errorf("vectors: reading %s: %w", file, err)
	}
	if len(vs) == 0 {
		return nil, fmt.Errorf("vectors: %s is empty", file)
	}
	return vs, nil
}
