package vault_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// noSecrets is an authorizer that denies what has the label class=secret.
func noSecrets(c *vault.Config) {
	c.Authorizer = vault.AuthorizerFunc(func(_ context.Context, r vault.AccessRequest) error {
		if r.Labels["class"] == "secret" {
			return errNo
		}
		return nil
	})
}

var secretLabels = vault.Labels(map[string]string{"class": "secret", "case": "merger"})

// An old version whose labels deny it isn't shown by Versions because those of the
// current one allow it.
func TestVersionsAreDecidedOneByOne(t *testing.T) {
	ctx := t.Context()
	rules := must(access.NewRules(
		access.Rule{Name: "all", Effect: access.Allow, Anyone: true, AnyContext: true, Operations: []vault.Operation{access.Write, access.Describe}},
		access.Rule{
			Name: "no-secrets", Effect: access.Deny, Anyone: true, AnyContext: true,
			Operations: []vault.Operation{access.Describe}, Labels: map[string]string{"class": "secret"},
		}))(t)
	v := vaulttest.New(t, func(c *vault.Config) { c.Authorizer = rules })
	old := must(v.Put(ctx, orgA, "x", []byte("1"), secretLabels))(t)
	must(v.Put(ctx, orgA, "x", []byte("2"), vault.Labels(nil)))(t)
	_, err := v.Describe(ctx, orgA, "x", vault.AtVersion(old.VersionID))
	wantErr(t, err, vault.ErrAccessDenied)
	wantErr(t, firstErr(v.List(ctx, orgA, vault.ListOptions{})), vault.ErrAccessDenied)
	wantNoSecretVersion(t, v)
	events := v.Events(vault.NamesListed)
	wantErr(t, events[len(events)-1].Err, vault.ErrAccessDenied)
}

// wantNoSecretVersion wants Versions to end with a denial, and to show nothing secret.
func wantNoSecretVersion(t *testing.T, v *vaulttest.Vault) {
	t.Helper()
	var last error
	for m, err := range v.Versions(t.Context(), orgA, "x") {
		if last = err; err == nil && m.Labels["class"] == "secret" {
			t.Errorf("a version is shown whose labels deny it: %v", m.Labels)
		}
	}
	wantErr(t, last, vault.ErrAccessDenied)
}

// A version that is put between the decision and the reading isn't shown by the labels of
// the one before.
func TestVersionsPutMeanwhile(t *testing.T) {
	ctx := t.Context()
	open := vaulttest.New(t)
	v := peerOf(t, open, noSecrets)
	must(open.Put(ctx, orgA, "x", nil))(t)
	raced := false
	open.Store.SetFault(func(op string) error {
		if op == "ListVersions" && !raced {
			raced = true
			_, err := open.Put(ctx, orgA, "x", nil, secretLabels)
			return err
		}
		return nil
	})
	wantNoSecretVersion(t, v)
	if !raced {
		t.Fatal("no race")
	}
}

// Versions with the same labels are one question, also if the loop changes what it is
// given; on later pages too.
func TestVersionsAreAskedAboutWhereLabelsDiffer(t *testing.T) {
	ctx, g := t.Context(), new(gate)
	v := vaulttest.New(t, withGate(g))
	for range 120 { // more than a page
		must(v.Put(ctx, orgA, "x", nil, secretLabels))(t)
	}
	for range 120 {
		must(v.Put(ctx, orgA, "x", nil, vault.Labels(map[string]string{"class": "public"})))(t)
	}
	g.take()
	g.set(func(r vault.AccessRequest) bool { return r.Labels["class"] == "secret" })
	var last error
	shown := 0
	for m, err := range v.Versions(ctx, orgA, "x") {
		if last = err; err == nil {
			shown++
			m.Labels["class"], m.Labels["case"] = "secret", "merger"
		}
	}
	wantErr(t, last, vault.ErrAccessDenied)
	asked := g.take()
	if len(asked) != 2 || asked[0].Labels["class"] != "public" || !maps.Equal(asked[1].Labels, map[string]string{"class": "secret", "case": "merger"}) {
		t.Errorf("asked %+v", asked)
	}
	if shown != 100 {
		t.Errorf("%d versions shown, want the page before", shown)
	}
}

// A put without a guard doesn't fail because others put the same name; an authorizer that
// allows everything doesn't change that. Nor does a delete.
func TestManyPutsOfOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, withGate(new(gate)), func(c *vault.Config) { c.KeepVersions = 1 })
		must(v.Put(t.Context(), orgA, "counter", nil))(t)
		v.Store.SetFault(func(string) error { time.Sleep(time.Millisecond); return nil }) // a database
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for range 5 {
					if _, err := v.Put(t.Context(), orgA, "counter", nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		v.Store.SetFault(nil)
		if obj := must(v.Get(t.Context(), orgA, "counter"))(t); obj.Number != 161 {
			t.Errorf("version %d", obj.Number)
		}
	})
}

// A put that is overtaken all the time ends with its ctx, or with the vault.
func TestOvertakenPutEnds(t *testing.T) {
	for what, end := range map[string]func(*vaulttest.Vault, context.CancelFunc){
		"ctx":   func(_ *vaulttest.Vault, cancel context.CancelFunc) { cancel() },
		"vault": func(v *vaulttest.Vault, _ context.CancelFunc) { ok(t, v.Close()) },
	} {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			v := vaulttest.New(t, withGate(new(gate)))
			must(v.Put(ctx, orgA, "x", nil))(t)
			puts := 0
			v.Store.SetFault(func(op string) error {
				if op != "PutObject" {
					return nil
				}
				if puts++; puts == 3 {
					go end(v, cancel)
				}
				return storage.ErrVersionConflict
			})
			_, err := v.Put(ctx, orgA, "x", nil)
			if !errors.Is(err, context.Canceled) && !errors.Is(err, vault.ErrClosed) {
				t.Error(err)
			}
		})
	}
}
