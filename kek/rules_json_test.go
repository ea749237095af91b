package kek_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// rulesDocument is the JSON form as it is written; what is in it must be read
// by every later version.
const rulesDocument = `{"version":1,"generation":6,` +
	`"required":[{"key":"org","from":2}],` +
	`"default":{"floor":1,"choices":[{"from":1,"until":5,"quorum":"any-of","keks":["d:0"]},{"from":5,"quorum":"any-of","keks":["d:1"]}]},` +
	`"rules":[{"match":{"org":"A \u0026 é"},"floor":4,"choices":[{"from":3,"until":4,"quorum":"any-of","keks":["a:1"]},{"from":4,"quorum":"all-of","keks":["a:2","a:1"]}]},` +
	`{"match":{"org":"B"},"choices":[{"from":1,"until":6,"quorum":"any-of","keks":["b:1"]}]},` +
	`{"match":{"org":"C"},"floor":3}]}`

func TestRulesJSON(t *testing.T) {
	r, err := kek.ParseRules(t.Context(), []byte(rulesDocument), openNamed)
	must(t, err)
	wantChoice(t, r, ctxMap{"org": "A & é"}, "all-of a:2 a:1")
	wantChoice(t, r, ctxMap{"user": "u"}, "any-of d:1 | any-of d:0")
	wantRefused(t, r, ctxMap{"org": "B"})
	must(t, r.Set(ctxMap{"org": "B"}, anyOf("b:2")))
	wantChoice(t, r, ctxMap{"org": "B"}, "any-of b:2 | any-of b:1")
	must(t, r.Set(ctxMap{"org": "C"}, anyOf("c:1")))
	wantChoice(t, r, ctxMap{"org": "C"}, "any-of c:1")
	must(t, r.Set(ctxMap{"org": "D"}, anyOf("d:4")))
	wantChoice(t, r, ctxMap{"org": "D"}, "any-of d:4 | any-of d:0")

	r, err = kek.ParseRules(t.Context(), []byte(rulesDocument), openNamed)
	must(t, err)
	got, err := json.Marshal(r)
	must(t, err)
	if string(got) != rulesDocument {
		t.Errorf("got  %s\nwant %s", got, rulesDocument)
	}
	var indented bytes.Buffer
	must(t, json.Indent(&indented, []byte(rulesDocument), "", "  "))
	indented.WriteString("\n")
	_, err = kek.ParseRules(t.Context(), indented.Bytes(), openNamed)
	must(t, err)
}

func TestRulesJSONByHand(t *testing.T) {
	r, err := kek.ParseRules(t.Context(), []byte(`{
		"rules": [{"choices": [{"keks": ["a:1"], "quorum": "any-of", "from": 1}], "match": {"org": "A"}}],
		"generation": 1, "version": 1}`), openNamed)
	must(t, err)
	wantChoice(t, r, ctxMap{"org": "A"}, "any-of a:1")
	throughJSON(t, r)
	throughJSON(t, new(kek.Rules))
}

func TestParseRulesRefuses(t *testing.T) {
	swap := func(old, new string) string {
		if strings.Count(rulesDocument, old) == 0 {
			t.Fatalf("%q is not in the document", old)
		}
		return strings.Replace(rulesDocument, old, new, 1)
	}
	long := strings.Repeat("x", 1025)
	bad := map[string]string{
		"nothing":                  "",
		"null":                     "null",
		"a list":                   "[]",
		"no version":               `{"generation":1}`,
		"version 0":                swap(`"version":1`, `"version":0`),
		"version 2":                swap(`"version":1`, `"version":2`),
		"version as a string":      swap(`"version":1`, `"version":"1"`),
		"version 1.0":              swap(`"version":1`, `"version":1.0`),
		"version 1e0":              swap(`"version":1`, `"version":1e0`),
		"version null":             swap(`"version":1`, `"version":null`),
		"no generation":            `{"version":1}`,
		"generation 0":             swap(`"generation":6`, `"generation":0`),
		"generation negative":      swap(`"generation":6`, `"generation":-6`),
		"generation 2^53":          swap(`"generation":6`, `"generation":9007199254740992`),
		"generation 2^64":          swap(`"generation":6`, `"generation":18446744073709551616`),
		"generation too early":     swap(`"generation":6`, `"generation":5`),
		"a field in another case":  swap(`"rules"`, `"Rules"`),
		"an unknown field":         swap(`"required"`, `"parents":1,"required"`),
		"unknown in a rule":        swap(`"match"`, `"parent":{},"match"`),
		"unknown in a choice":      swap(`"quorum"`, `"parent":null,"quorum"`),
		"unknown in required":      swap(`"key":"org"`, `"key":"org","x":1`),
		"a field twice":            swap(`"version":1`, `"version":1,"version":1`),
		"a match's key twice":      swap(`"org":"B"`, `"org":"B","org":"B"`),
		"a match twice":            swap(`"org":"C"`, `"org":"B"`),
		"the default with a match": swap(`"default":{`, `"default":{"match":{"org":"Q"},`),
		"no match":                 swap(`"match":{"org":"B"},`, ``),
		"an empty match":           swap(`{"org":"B"}`, `{}`),
		"a match null":             swap(`{"org":"B"}`, `null`),
		"a match's value a number": swap(`"org":"B"`, `"org":1`),
		"a match's value null":     swap(`"org":"B"`, `"org":null`),
		"a match's value empty":    swap(`"org":"B"`, `"org":""`),
		"a match's value too long": swap(`"org":"B"`, `"org":"`+long+`"`),
		"a match reserved":         swap(`"org":"B"`, `"vault:scope":"global"`),
		"eleven pairs":             swap(`"org":"B"`, `"1":"x","2":"x","3":"x","4":"x","5":"x","6":"x","7":"x","8":"x","9":"x","10":"x","11":"x"`),
		"a rule without meaning":   swap(`"floor":3`, `"floor":0`),
		"a floor in the future":    swap(`"floor":4`, `"floor":7`),
		"a floor null":             swap(`"floor":4`, `"floor":null`),
		"from 0":                   swap(`"from":3`, `"from":0`),
		"from missing":             swap(`"from":3,`, ``),
		"from in the future":       swap(`"from":4,`, `"from":7,`),
		"until in the future":      swap(`"until":6`, `"until":7`),
		"until at from":            swap(`"from":3,"until":4`, `"from":3,"until":3`),
		"until before from":        swap(`"from":3,"until":4`, `"from":4,"until":3`),
		"until null":               swap(`"until":4`, `"until":null`),
		"overlapping":              swap(`"from":3,"until":4`, `"from":3,"until":5`),
		"two live":                 swap(`"from":3,"until":4`, `"from":3`),
		"unknown quorum":           swap(`all-of`, `most-of`),
		"no quorum":                swap(`"quorum":"all-of",`, ``),
		"all-of with one":          swap(`["a:2","a:1"]`, `["a:2"]`),
		"no KEKs":                  swap(`["a:1"]`, `[]`),
		"KEKs null":                swap(`["a:1"]`, `null`),
		"a KEK null":               swap(`["a:1"]`, `[null]`),
		"a KEK twice":              swap(`["a:2","a:1"]`, `["a:1","a:1"]`),
		"nine KEKs":                swap(`["a:1"]`, `["1","2","3","4","5","6","7","8","9"]`),
		"a parent's URI":           swap(`["a:1"]`, `["vault-key:00"]`),
		"a URI with a space":       swap(`["a:1"]`, `["a: 1"]`),
		"required twice":           swap(`[{"key":"org","from":2}]`, `[{"key":"org","from":2},{"key":"org","from":2}]`),
		"required from 0":          swap(`"from":2`, `"from":0`),
		"required in the future":   swap(`"from":2`, `"from":7`),
		"required reserved":        swap(`{"key":"org"`, `{"key":"vault:scope"`),
		"required without key":     swap(`{"key":"org",`, `{`),
		"not UTF-8":                swap(`"B"`, "\"\xff\""),
		"a byte-order mark":        "\ufeff" + rulesDocument,
		"something after it":       rulesDocument + "{}",
		"a brace after it":         rulesDocument + "}",
		"a comma after it":         rulesDocument + ",",
		"deep":                     `{"rules":` + strings.Repeat("[", 100_000),
		"deep in a value":          `{"version":` + strings.Repeat(`{"version":`, 100_000),
		"65 past choices and one":  `{"version":1,"generation":200,"default":{"choices":[` + spans(66) + `]}}`,
		"65 past choices":          `{"version":1,"generation":200,"default":{"choices":[` + spans(65) + `]}}`,
		"too many required":        `{"version":1,"generation":1,"required":[` + strings.Repeat(`{"key":"k","from":1},`, 100) + `]}`,
	}
	for i := range len(rulesDocument) {
		bad[fmt.Sprintf("cut at %d", i)] = rulesDocument[:i]
	}
	for name, doc := range bad {
		r, err := kek.ParseRules(t.Context(), []byte(doc), func(context.Context, string, keyctx.KeyContext) (kek.Wrapper, error) {
			t.Fatalf("%s: open was called before all was checked", name)
			return nil, nil
		})
		if !errors.Is(err, kek.ErrRulesFormat) || r != nil {
			t.Errorf("%s: got %v, %v", name, r, err)
		}
	}
	ok := `{"version":1,"generation":200,"default":{"choices":[` + spans(64) + `]}}`
	_, err := kek.ParseRules(t.Context(), []byte(ok), openNamed)
	must(t, err)
}

// spans gives n past choices as JSON.
func spans(n int) string {
	var s []string
	for i := range n {
		s = append(s, fmt.Sprintf(`{"from":%d,"until":%d,"quorum":"any-of","keks":["k:%d"]}`, i+1, i+2, i))
	}
	return strings.Join(s, ",")
}

func TestParseRulesOpens(t *testing.T) {
	var calls []string
	record := func(_ context.Context, uri string, kc keyctx.KeyContext) (kek.Wrapper, error) {
		calls = append(calls, fmt.Sprint(uri, " ", map[string]string(kc), kc == nil))
		maps.DeleteFunc(kc, func(string, string) bool { return true }) // ours to spoil
		return named(uri), nil
	}
	r, err := kek.ParseRules(t.Context(), []byte(rulesDocument), record)
	must(t, err)
	want := []string{"a:1 map[org:A & é] false", "a:2 map[org:A & é] false", "b:1 map[org:B] false", "d:0 map[] true", "d:1 map[] true"}
	if slices.Sort(calls); !slices.Equal(calls, want) {
		t.Errorf("open was called with\n%q, want\n%q", calls, want)
	}
	wantChoice(t, r, ctxMap{"org": "A & é"}, "all-of a:2 a:1")

	own := errors.New("the application's own")
	var typedNil *pointer
	for name, tc := range map[string]struct {
		w    kek.Wrapper
		err  error
		want error
	}{
		"fails":                {nil, own, own},
		"fails and gives one":  {named("a:1"), own, own},
		"gives nil":            {nil, nil, kek.ErrPolicy},
		"gives a nil pointer":  {typedNil, nil, kek.ErrPolicy},
		"gives another's KEK":  {named("evil:1"), nil, kek.ErrPolicy},
		"gives an unnamed KEK": {named(""), nil, kek.ErrPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := kek.ParseRules(t.Context(), []byte(rulesDocument), func(context.Context, string, keyctx.KeyContext) (kek.Wrapper, error) {
				return tc.w, tc.err
			})
			wantErr(t, err, tc.want)
			if r != nil {
				t.Error("an error, and rules")
			}
		})
	}
	_, err = kek.ParseRules(t.Context(), []byte(rulesDocument), nil)
	wantErr(t, err, kek.ErrPolicy)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = kek.ParseRules(ctx, []byte(rulesDocument), record)
	wantErr(t, err, context.Canceled)
}

// What parses is written in a form that parses to the same.
func FuzzParseRules(f *testing.F) {
	f.Add([]byte(rulesDocument))
	f.Add([]byte(`{"version":1,"generation":1}`))
	f.Add([]byte(`{"version":1,"generation":200,"default":{"choices":[` + spans(64) + `]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := kek.ParseRules(t.Context(), data, openNamed)
		if err != nil {
			wantErr(t, err, kek.ErrRulesFormat)
			return
		}
		r = throughJSON(t, r)
		for rule := range r.All() {
			if _, err := rule.Choice.Normalize(rule.Match); err != nil {
				t.Fatalf("a rule that Normalize refuses: %v", err)
			}
		}
		must(t, r.Set(ctxMap{"fuzz": "x"}, anyOf("k:1")))
		if _, err := r.Choose(t.Context(), ctxMap{"fuzz": "x"}); err != nil {
			wantErr(t, err, kek.ErrPolicy)
		}
	})
}
