package vault_test

import (
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// Attributes are the actor's for whom they were given: under another name they are gone.
func TestAttributesStayWithTheirActor(t *testing.T) {
	ann := vault.WithActorAttributes(vault.WithActor(t.Context(), "ann"), map[string]string{"role": "admin"})
	attributes := func(ctx context.Context) map[string]string {
		return vault.AccessRequestOf(ctx, vault.OpGet, orgA).Attributes.Map()
	}
	if got := attributes(ann); got["role"] != "admin" {
		t.Errorf("ann has %v", got)
	}
	for what, ctx := range map[string]context.Context{
		"another":       vault.WithActor(ann, "bob"),
		"nobody":        vault.WithActor(ann, ""),
		"named after":   vault.WithActor(vault.WithActorAttributes(t.Context(), map[string]string{"role": "admin"}), "bob"),
		"a like name":   vault.WithActor(ann, "ann\x00"),
		"replaced":      vault.WithActorAttributes(ann, nil),
		"none were set": t.Context(),
	} {
		if got := attributes(ctx); len(got) != 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
	if got := attributes(vault.WithActor(ann, "ann")); got["role"] != "admin" {
		t.Errorf("named again, ann has %v", got)
	}
}

// Nothing that is passed in or handed out changes them.
func TestAttributesCantBeChanged(t *testing.T) {
	m := map[string]string{"role": "support"}
	ctx := vault.WithActorAttributes(t.Context(), m)
	m["role"] = "admin"
	a := vault.AccessRequestOf(ctx, vault.OpGet, orgA).Attributes
	a.Map()["role"] = "admin"
	if role, there := a.Get("role"); role != "support" || !there || a.Len() != 1 || !maps.Equal(maps.Collect(a.All()), map[string]string{"role": "support"}) {
		t.Errorf("the role is %q", role)
	}
	if _, there := (vault.Attributes{}).Get("role"); there {
		t.Error("none have one")
	}
}

// An actor's name that was cut, or changed, could be another's: nothing is allowed to it.
func TestActorsWhoseNamesWereChanged(t *testing.T) {
	g := new(gate)
	v := vaulttest.New(t, withGate(g))
	for _, name := range []string{"root\x00", "root\n", "a\xff", strings.Repeat("a", 257)} {
		_, err := v.Encrypt(vault.WithActor(t.Context(), name), orgA, nil, nil)
		wantClass(t, err, "ErrAccessDenied")
	}
	if n := len(g.take()); n != 0 {
		t.Errorf("%d were asked about", n)
	}
	must(v.Encrypt(vault.WithActor(t.Context(), strings.Repeat("ä", 128)), orgA, nil, nil))(t)
}

// What the authorizer does to its request changes nothing else.
func TestRequestsAreTheAuthorizersOwn(t *testing.T) {
	spoil := func(_ context.Context, r vault.AccessRequest) error {
		for _, m := range []map[string]string{r.Context, r.Match, r.Labels, r.NewLabels} {
			for k := range m {
				m[k] = "spoilt"
			}
		}
		return nil
	}
	both(t, spoil, func(t *testing.T, v *vaulttest.Vault) {
		kc := vault.KeyContext{"organization_id": "org_01"}
		meta := must(v.Put(t.Context(), kc, "a", nil, vault.Labels(map[string]string{"l": "x"})))(t)
		got := must(v.Describe(t.Context(), kc, "a"))(t)
		looked := must(v.Lookup(t.Context(), meta.ID))(t)
		ok(t, firstErr(v.List(t.Context(), kc, vault.ListOptions{Within: true})))
		for _, m := range []vault.Metadata{meta, got, looked} {
			if m.Labels["l"] != "x" || !maps.Equal(m.Context, orgA) || !maps.Equal(kc, orgA) {
				t.Errorf("%v, %v, %v", m.Labels, m.Context, kc)
			}
		}
	})
}

// Without an authorizer no request is made: a warm call allocates as much as ever, and
// less than one that is asked about.
func TestNoAuthorizerCostsNothing(t *testing.T) {
	allocs := func(change ...func(*vault.Config)) float64 {
		base := vaulttest.New(t)
		c := vault.Config{KEK: base.KEK, Store: base.Store, NoBackground: true}
		for _, f := range change {
			f(&c)
		}
		scope := open(t, c).Scope(orgA)
		ctx, buf := t.Context(), make([]byte, 0, 1024)
		return testing.AllocsPerRun(200, func() {
			if _, err := scope.AppendEncrypt(ctx, buf, []byte("x"), nil); err != nil {
				t.Error(err)
			}
		})
	}
	none := allocs()
	some := allocs(func(c *vault.Config) {
		c.Authorizer = atOnce(func(context.Context, vault.AccessRequest) error { return nil })
	})
	if none >= some {
		t.Errorf("%v allocations without an authorizer, %v with one", none, some)
	}
}

// What an authorizer costs a warm call.
func BenchmarkAuthorizer(b *testing.B) {
	allow := func(context.Context, vault.AccessRequest) error { return nil }
	for name, a := range map[string]vault.Authorizer{"none": nil, "immediate": atOnce(allow), "aside": vault.AuthorizerFunc(allow)} {
		b.Run(name, func(b *testing.B) {
			base := vaulttest.New(b)
			v, err := vault.New(vault.Config{KEK: base.KEK, Store: base.Store, Authorizer: a})
			if err != nil {
				b.Fatal(err)
			}
			defer v.Close()
			scope, ctx, buf := v.Scope(orgA), b.Context(), make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := scope.AppendEncrypt(ctx, buf, []byte("x"), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
