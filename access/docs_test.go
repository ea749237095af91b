package access_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
)

// blocks returns the fenced blocks of a language in docs/ACCESS.md.
func blocks(t *testing.T, language string) (found []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/ACCESS.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```"+language+"\n")
	for _, part := range parts[1:] {
		block, _, _ := strings.Cut(part, "```")
		found = append(found, block)
	}
	if len(found) == 0 {
		t.Fatalf("docs/ACCESS.md has no %s", language)
	}
	return found
}

// Every line of Go in docs/ACCESS.md is a line that is compiled, in the same order.
func TestDocumentedCodeIsCompiled(t *testing.T) {
	var files [][]string
	for _, name := range []string{"example_test.go", "../vaulttest/example_test.go", "../authorize.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		files = append(files, slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, "//") }))
	}
	for _, block := range blocks(t, "go") {
		if !slices.ContainsFunc(files, func(lines []string) bool { return inOrder(lines, strings.Split(block, "\n")) }) {
			t.Errorf("no file has, in this order,\n%s", block)
		}
	}
}

func inOrder(lines, want []string) bool {
	for _, w := range want {
		if w = strings.TrimSpace(w); w == "" {
			continue
		}
		i := slices.Index(lines, w)
		if i < 0 {
			return false
		}
		lines = lines[i+1:]
	}
	return true
}

// The documented rules can be read, and tell the documented stories.
func TestDocumentedRules(t *testing.T) {
	docs := blocks(t, "json")
	r, err := access.ParseRules([]byte(docs[0]))
	if err != nil || len(docs) != 1 {
		t.Fatal(err, len(docs))
	}
	support := vault.NewAttributes(map[string]string{"role": "support"})
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpDescribe, Attributes: support, Context: orgA}, true)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpGet, Attributes: support, Context: orgA}, false)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpGet, Attributes: support, Context: orgA, Reason: "INC-7"}, true)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpGet, Attributes: service("org_01"), Context: orgA}, true)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpGet, Attributes: service("org_02"), Context: orgA}, false)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpCheck}, true)
}

// The documented groups are the groups, and no operation is left out.
func TestDocumentedOperations(t *testing.T) {
	text, err := os.ReadFile("../docs/ACCESS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range []vault.Operation{access.Read, access.Write, access.Describe, access.Manage} {
		_, row, _ := strings.Cut(string(text), "\n| `"+string(group)+"`")
		row, _, _ = strings.Cut(row, "\n")
		var got []vault.Operation
		for i, part := range strings.Split(row, "`") {
			if i%2 == 1 {
				got = append(got, vault.Operation(part))
			}
		}
		want := access.Group(group)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: documented are\n%q, there are\n%q", group, got, want)
		}
	}
}

// A denial names a rule, and nothing of the request or the rule's conditions.
func TestDenialsNameNoValue(t *testing.T) {
	values := []string{"s3cret-org", "s3cret-attribute", "s3cret-object", "s3cret-label", "s3cret-actor"}
	q := vault.AccessRequest{
		Operation: vault.OpGet, Actor: values[4], Context: vault.KeyContext{"organization_id": values[0]},
		Attributes: vault.NewAttributes(map[string]string{"kind": values[1]}), Object: values[2], Labels: map[string]string{"l": values[3]},
	}
	rule := access.Rule{
		Name: "r", Effect: access.Deny, Actors: []string{values[4]}, Attributes: map[string][]string{"kind": {values[1]}},
		Context: map[string]string{"organization_id": values[0]}, ObjectPrefix: values[2], Labels: map[string]string{"l": values[3]},
		Operations: []vault.Operation{vault.OpGet},
	}
	reason := rule
	reason.Effect, reason.RequireReason = access.Allow, true
	bad := rule
	bad.Context = map[string]string{"organization_id": "s3cret-org${"}
	errs := []error{rulesOf(t, rule).Authorize(t.Context(), q), rulesOf(t, reason).Authorize(t.Context(), q), rulesOf(t).Authorize(t.Context(), q), bad.Validate()}
	for _, err := range errs {
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v", err)
		}
	}
}
