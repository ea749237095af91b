package access_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
)

// full is a document with everything that one can have.
const full = `{"version":1,"rules":[` +
	`{"name":"own","effect":"allow","actors":["billing","invoices"],"attributes":{"kind":["service"]},"operations":["read","data.list"],"context":{"organization_id":"${actor.organization_id}"},"object_prefix":"stripe/","labels":{"team":"red"},"require_reason":true},` +
	`{"name":"stop","effect":"deny","anyone":true,"operations":["manage"],"any_context":true}]}`

func TestRulesJSON(t *testing.T) {
	r, err := access.ParseRules([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := []access.Rule{
		{
			Name: "own", Effect: access.Allow, Actors: []string{"billing", "invoices"}, Attributes: map[string][]string{"kind": {"service"}},
			Operations: []vault.Operation{access.Read, vault.OpList}, Context: map[string]string{"organization_id": "${actor.organization_id}"},
			ObjectPrefix: "stripe/", Labels: map[string]string{"team": "red"}, RequireReason: true,
		},
		{Name: "stop", Effect: access.Deny, Anyone: true, Operations: []vault.Operation{access.Manage}, AnyContext: true},
	}
	if got := r.All(); !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
	again, err := json.Marshal(r)
	if err != nil || string(again) != full {
		t.Errorf("%v: wrote\n%s, want\n%s", err, again, full)
	}
	none, err := access.ParseRules([]byte(` {"rules": [], "version": 1} ` + "\n"))
	if err != nil || len(none.All()) != 0 {
		t.Errorf("%v, %v", err, none)
	}
}

func TestRulesJSONIsStrict(t *testing.T) {
	edit := func(from, to string) string {
		if !strings.Contains(full, from) {
			t.Fatalf("%q is not in the document", from)
		}
		return strings.Replace(full, from, to, 1)
	}
	for what, doc := range map[string]string{
		"nothing":               "",
		"null":                  "null",
		"a list":                "[]",
		"no version":            `{"rules":[]}`,
		"no rules":              `{"version":1}`,
		"null rules":            `{"version":1,"rules":null}`,
		"another version":       edit(`"version":1`, `"version":2`),
		"version 0":             edit(`"version":1`, `"version":0`),
		"version 1.0":           edit(`"version":1`, `"version":1.0`),
		"an unknown field":      edit(`"name":"own"`, `"name":"own","unless":"x"`),
		"a field of the file":   edit(`"version":1`, `"version":1,"default":"allow"`),
		"another case":          edit(`"require_reason"`, `"Require_reason"`),
		"a field twice":         edit(`"require_reason":true`, `"require_reason":true,"require_reason":true`),
		"a pair twice":          edit(`{"team":"red"}`, `{"team":"red","team":"blue"}`),
		"false":                 edit(`"require_reason":true`, `"require_reason":false`),
		"a word for true":       edit(`"require_reason":true`, `"require_reason":"true"`),
		"null for a context":    edit(`{"organization_id":"${actor.organization_id}"}`, `null`),
		"an empty context":      edit(`{"organization_id":"${actor.organization_id}"}`, `{}`),
		"no actor left":         edit(`["billing","invoices"]`, `[]`),
		"no attribute left":     edit(`{"kind":["service"]}`, `{}`),
		"no value left":         edit(`["service"]`, `[]`),
		"no label left":         edit(`{"team":"red"}`, `{}`),
		"an empty prefix":       edit(`"stripe/"`, `""`),
		"an effect of its own":  edit(`"allow"`, `"Allow"`),
		"an unknown operation":  edit(`"data.list"`, `"data.lst"`),
		"a number for a string": edit(`"red"`, `7`),
		"not UTF-8":             edit(`red`, "r\xffd"),
		"two rules of a name":   edit(`"stop"`, `"own"`),
		"something after it":    full + "{}",
		"half of it":            full[:len(full)-1],
		"anyone, not said":      edit(`"anyone":true,`, ``),
		"any context, not said": edit(`,"any_context":true`, ``),
	} {
		r, err := access.ParseRules([]byte(doc))
		if !errors.Is(err, access.ErrFormat) || r != nil {
			t.Errorf("%s: %v, %v", what, r, err)
		}
	}
}

// What is read is written as the same bytes again and again, and whatever is not refused
// decides without a panic.
func FuzzParseRules(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"version":1,"rules":[]}`))
	f.Add([]byte(`{"version":1,"rules":[{"name":"a","effect":"allow","anyone":true,"any_context":true,"operations":["vault.check"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := access.ParseRules(data)
		if err != nil {
			if !errors.Is(err, access.ErrFormat) {
				t.Fatalf("error of another class: %v", err)
			}
			return
		}
		first, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := access.ParseRules(first)
		if err != nil {
			t.Fatalf("its own bytes are refused: %v\n%s", err, first)
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(first, second) || !reflect.DeepEqual(r.All(), again.All()) {
			t.Fatalf("%v: wrote\n%s, and then\n%s", err, first, second)
		}
		for _, op := range vault.Operations() {
			_ = r.Explain(vault.AccessRequest{Operation: op, Actor: "a", Context: orgA})
			_ = r.Explain(vault.AccessRequest{Operation: op, Actor: "a", Match: orgA})
		}
	})
}
