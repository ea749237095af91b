package vectors_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/embedvault/vault/internal/vectors"
)

// The manifest says what the files say. That the manifest only grows is for CI
// to check: see the package comment.
func TestManifest(t *testing.T) {
	want, err := vectors.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got, err := vectors.CommittedManifest()
	if err != nil {
		t.Fatal(err)
	}
	if err := vectors.CheckGrowth(got, want); err != nil {
		t.Error(err)
	}
	if !slices.Equal(got, want) {
		t.Error("MANIFEST is not that of the files; run go run ./internal/vectors/gen")
	}
}

func TestCheckGrowth(t *testing.T) {
	for _, c := range []struct {
		name        string
		before, now []string
		ok          bool
	}{
		{"same", []string{"a", "b"}, []string{"a", "b"}, true},
		{"grown", []string{"a", "b"}, []string{"a", "new", "b"}, true},
		{"first", nil, []string{"a"}, true},
		{"changed", []string{"a", "b"}, []string{"a", "c"}, false},
		{"removed", []string{"a", "b"}, []string{"a"}, false},
		{"emptied", []string{"a"}, nil, false},
		{"twice", []string{"a"}, []string{"a", "a"}, false},
	} {
		if err := vectors.CheckGrowth(c.before, c.now); (err == nil) != c.ok || err != nil && !errors.Is(err, vectors.ErrShrunk) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Names are unique in a file, and every JSON file is one that is listed.
func TestFiles(t *testing.T) {
	d, err := vectors.Dir()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(d, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range paths {
		if !slices.Contains(vectors.Files(), filepath.Base(p)) {
			t.Errorf("%s is not in vectors.Files", p)
		}
	}
	for _, file := range vectors.Files() {
		b, err := os.ReadFile(filepath.Join(d, file))
		if err != nil {
			t.Fatal(err)
		}
		var vs []struct{ Name string }
		if err := json.Unmarshal(b, &vs); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, v := range vs {
			if seen[v.Name] {
				t.Errorf("%s: two vectors are named %s", file, v.Name)
			}
			seen[v.Name] = true
		}
	}
	if _, err := vectors.Read[vectors.Text]("absent_v1.json"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

// Every result that a file can have is there, for both kinds where there are
// two.
func TestCoverage(t *testing.T) {
	const v, m, w, d = vectors.Valid, vectors.Malformed, vectors.WrongContext, vectors.DecryptFailed
	count := map[string]map[vectors.Result]int{}
	add := func(file string, r vectors.Result) {
		if count[file] == nil {
			count[file] = map[vectors.Result]int{}
		}
		count[file][r]++
	}
	for _, file := range []string{vectors.EnvelopeFile, vectors.DataKeyFile, vectors.StreamHeaderFile} {
		for _, e := range read[vectors.Envelope](t, file) {
			add(file, e.Result)
			add(file+e.Name[:4], e.Result) // "ref-" or "self"
		}
	}
	for _, o := range read[vectors.Object](t, vectors.ObjectFile) {
		add(vectors.ObjectFile, o.Result)
	}
	for _, c := range read[vectors.KeyContext](t, vectors.KeyContextFile) {
		add(vectors.KeyContextFile+c.Input, c.Result)
	}
	for _, b := range read[vectors.Block](t, vectors.BlockFile) {
		add(vectors.BlockFile, b.Result)
	}
	for _, x := range read[vectors.Text](t, vectors.TextFile) {
		add(vectors.TextFile, x.Result)
	}
	for _, b := range read[vectors.Binding](t, vectors.BindingFile) {
		add(vectors.BindingFile, b.Result)
	}
	for _, u := range read[vectors.Unwrap](t, vectors.UnwrapFile) {
		add(vectors.UnwrapFile, u.Result)
	}
	want := map[string][]vectors.Result{
		vectors.EnvelopeFile: {v, m, w, d}, vectors.EnvelopeFile + "ref-": {v, m, w, d}, vectors.EnvelopeFile + "self": {v, m, w, d},
		vectors.DataKeyFile: {v, m, w, d}, vectors.DataKeyFile + "ref-": {v, m, w, d}, vectors.DataKeyFile + "self": {v, m, w, d},
		vectors.StreamHeaderFile: {v, m, w, d}, vectors.StreamHeaderFile + "ref-": {v, m, w, d}, vectors.StreamHeaderFile + "self": {v, m, w, d},
		vectors.ObjectFile:                             {v, m, w, d, vectors.InvalidName},
		vectors.KeyContextFile + vectors.InputCaller:   {v, vectors.InvalidContext},
		vectors.KeyContextFile + vectors.InputFull:     {v, vectors.InvalidContext},
		vectors.KeyContextFile + vectors.InputEncoding: {v, vectors.InvalidContext},
		vectors.BlockFile:                              {v, m},
		vectors.TextFile:                               {v, m},
		vectors.BindingFile:                            {v, vectors.Corrupt},
		vectors.UnwrapFile:                             {v, vectors.Policy, vectors.Corrupt},
	}
	for file, results := range want {
		if len(count[file]) != len(results) {
			t.Errorf("%s: %v, want %v and no other", file, count[file], results)
		}
		for _, r := range results {
			if count[file][r] == 0 {
				t.Errorf("%s has no vector with the result %q", file, r)
			}
		}
	}
	total := 0
	for _, n := range count[vectors.EnvelopeFile] {
		total += n
	}
	if total < 60 {
		t.Errorf("%d message vectors, want 60 at least", total)
	}
}
