package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

var (
	acme   = vault.KeyContext{"organization_id": "acme"}
	globex = vault.KeyContext{"organization_id": "globex"}
)

func open(t *testing.T, text string) *vaulttest.Vault {
	t.Helper()
	a, err := NewAuthorizer("policies.cedar", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return vaulttest.New(t, func(c *vault.Config) { c.Authorizer = a })
}

func TestStories(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"the service puts in its tenant: true", "the service puts elsewhere: false", "support describes: true",
		"support reads: false", "support breaks the glass: true",
		`audit: data.read by ann, reason "", denied: true`, `audit: data.read by ann, reason "INC-7 refund", denied: false`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%q isn't in\n%s", want, &out)
		}
	}
}

// What is denied is an event with who and why, uses no key, and reaches no KMS.
func TestDeniedByCedar(t *testing.T) {
	v := open(t, string(policies))
	billing := actor("billing", map[string]string{"kind": "service", "organization_id": "acme"})
	nobody := actor("", nil)
	for what, err := range map[string]error{
		"another tenant":    second(v.Encrypt(billing, globex, nil, nil)),
		"a list of all":     first(v.Keys(billing, vault.KeyFilter{All: true})),
		"another's list":    first(v.List(billing, globex, vault.ListOptions{Within: true})),
		"nobody":            second(v.Get(nobody, acme, "a")),
		"management":        v.Rotate(billing, acme),
		"no tenant":         second(v.Encrypt(actor("billing", map[string]string{"kind": "service"}), acme, nil, nil)),
		"a tenant by force": second(v.Encrypt(actor("billing", map[string]string{"kind": "service", "organization_id": "acme\" || true"}), acme, nil, nil)),
	} {
		if !errors.Is(err, vault.ErrAccessDenied) || !errors.Is(err, errNoPermit) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if v.KEK.Calls() != 0 || len(v.Events()) != 7 {
		t.Errorf("%d calls of the KEK, %d events", v.KEK.Calls(), len(v.Events()))
	}
	if err := first(v.List(billing, acme, vault.ListOptions{Within: true})); err != nil {
		t.Errorf("its own list: %v", err)
	}
}

// A forbid beats the permits, by a label of the stored row.
func TestForbidden(t *testing.T) {
	v := open(t, string(policies))
	billing := actor("billing", map[string]string{"kind": "service", "organization_id": "acme"})
	if _, err := v.Put(billing, acme, "a", nil, vault.Labels(map[string]string{"export": "never"})); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Get(billing, acme, "a"); !errors.Is(err, errForbidden) || !strings.Contains(err.Error(), "never-exported") {
		t.Errorf("got %v", err)
	}
}

// A forbid that fails forbids: Cedar itself would pass over it.
func TestPolicyThatFailsDenies(t *testing.T) {
	v := open(t, `@id("all") permit (principal, action, resource);
		@id("fails") forbid (principal, action, resource) when { principal.role == "intern" };`)
	if _, err := v.Encrypt(actor("ann", nil), acme, nil, nil); !errors.Is(err, errPolicy) || !strings.Contains(err.Error(), "fails") {
		t.Errorf("got %v", err)
	}
	if _, err := v.Encrypt(actor("ann", map[string]string{"role": "chef"}), acme, nil, nil); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestPoliciesNeedNames(t *testing.T) {
	for _, text := range []string{
		"permit (principal, action, resource);", "permit", `@id("a") permit (principal, action, resource); @id("a") forbid (principal, action, resource);`,
	} {
		if _, err := NewAuthorizer("x", []byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func first[T any](seq func(func(T, error) bool)) (failed error) {
	seq(func(_ T, err error) bool { failed = err; return err == nil })
	return failed
}
