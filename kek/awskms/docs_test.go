package awskms_test

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/keyctx"
)

var errNoRotation = errors.New("the rotation is not seen")

const page = "../../docs/providers/aws-kms.md"

// blocks returns the page's code blocks of a language.
func blocks(t *testing.T, language string) []string {
	text := string(must(os.ReadFile(page))(t))
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// The program on the page is the one that is compiled and run here.
func TestPageShowsTheExample(t *testing.T) {
	example := string(must(os.ReadFile("example_test.go"))(t))
	snippets := blocks(t, "go")
	if len(snippets) == 0 {
		t.Fatal("the page shows no program")
	}
	for _, s := range snippets {
		if !strings.Contains(example, s) {
			t.Errorf("example_test.go has not:\n%s", s)
		}
	}
}

type statement struct {
	Action    []string
	Condition struct{ StringEquals map[string]string }
}

// The policy on the page, and in the package's documentation, is enough, and no
// action of it is too much.
func TestDocumentedPolicy(t *testing.T) {
	var policy struct{ Statement []statement }
	if err := json.Unmarshal([]byte(blocks(t, "json")[0]), &policy); err != nil {
		t.Fatal(err)
	}
	actions := policy.Statement[0].Action
	doc := string(must(os.ReadFile("doc.go"))(t))
	for _, action := range actions {
		if !strings.Contains(doc, `"`+action+`"`) {
			t.Errorf("doc.go has not %s", action)
		}
	}
	if err := useWith(t, actions, nil); err != nil {
		t.Errorf("the policy isn't enough: %v", err)
	}
	for i := range actions {
		fewer := slices.Delete(slices.Clone(actions), i, i+1)
		if err := useWith(t, fewer, nil); err == nil {
			t.Errorf("it works without %s", actions[i])
		}
	}
}

// The statements for a customer's key policy are enough for their context, and
// no use for another.
func TestDocumentedKeyPolicy(t *testing.T) {
	var statements []statement
	if err := json.Unmarshal([]byte("["+blocks(t, "json")[1]+"]"), &statements); err != nil {
		t.Fatal(err)
	}
	pairs := map[string]string{}
	for name, v := range statements[0].Condition.StringEquals {
		pairs[strings.TrimPrefix(name, "kms:EncryptionContext:")] = v
	}
	use := func() error { return useWith(t, statements[1].Action, pairs, statements[0].Action...) }
	if err := use(); err != nil {
		t.Errorf("the policy isn't enough: %v", err)
	}
	pairs["organization_id"] = "org_02"
	wantClass(t, use(), kek.ErrDenied)
}

// useWith uses a customer's key in every way for the context of org_01, with
// nothing allowed but the actions, and those that are conditional on pairs of the
// encryption context. Rotates must be true in the end.
func useWith(t *testing.T, actions []string, condition map[string]string, conditional ...string) error {
	srv := awskmstest.New(t)
	key := srv.CreateKey(awskmstest.KeyOptions{Account: "444455556666"})
	key.RotateYearly(true)
	key.Allow(srv.Principal(awskmstest.DefaultPrincipal), slices.Concat(actions, conditional)...)
	key.RequireContext(condition, conditional...)
	k, err := awskms.New(t.Context(), srv.Client(key.Region()), key.ARN(), awskms.Options{})
	if err != nil {
		return err
	}
	b := bindingOf(t, keyctx.KeyContext{"organization_id": "org_01"})
	wrapped, err := k.Wrap(t.Context(), random(32), b)
	if err != nil {
		return err
	}
	if _, err = k.Unwrap(t.Context(), wrapped, b); err != nil {
		return err
	}
	if _, err = k.Rewrap(t.Context(), wrapped, b); err != nil {
		return err
	}
	status, err := k.Check(t.Context())
	if err == nil && !status.Rotates {
		err = errNoRotation
	}
	return err
}
