package vault_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// errNo is an authorizer's own denial.
var errNo = errors.New("rule 7 says no")

// gate is an authorizer that can be closed, and remembers what it was asked.
type gate struct {
	mu    sync.Mutex
	deny  func(vault.AccessRequest) bool // nil: nothing
	asked []vault.AccessRequest
}

func (g *gate) Authorize(_ context.Context, r vault.AccessRequest) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, r)
	if g.deny != nil && g.deny(r) {
		return errNo
	}
	return nil
}

func (g *gate) set(deny func(vault.AccessRequest) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deny = deny
}

// take returns what was asked since it was last called.
func (g *gate) take() []vault.AccessRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked := g.asked
	g.asked = nil
	return asked
}

func everything(vault.AccessRequest) bool { return true }

func withGate(g *gate) func(*vault.Config) {
	return func(c *vault.Config) { c.Authorizer = g }
}

// operations are the operations of each method that does something.
var operations = map[string][]vault.Operation{
	"Encrypt": {vault.OpEncrypt}, "AppendEncrypt": {vault.OpEncrypt}, "EncryptString": {vault.OpEncrypt},
	"Decrypt": {vault.OpDecrypt}, "AppendDecrypt": {vault.OpDecrypt}, "DecryptString": {vault.OpDecrypt},
	"AEAD.Encrypt": {vault.OpEncrypt}, "AEADWithContext.Encrypt": {vault.OpEncrypt},
	"AEAD.Decrypt": {vault.OpDecrypt}, "AEADWithContext.Decrypt": {vault.OpDecrypt},
	"Reencrypt": {vault.OpReencrypt}, "NeedsReencrypt": {vault.OpNeedsReencrypt},
	"CreateDataKey": {vault.OpCreateDataKey}, "DecryptDataKey": {vault.OpDecryptDataKey},
	"RekeyDataKey": {vault.OpRekeyFrom, vault.OpRekeyTo},
	"Put":          {vault.OpPut}, "Get": {vault.OpGet}, "GetMany": {vault.OpGet}, "GetByID": {vault.OpGet},
	"Delete": {vault.OpDelete}, "Describe": {vault.OpDescribe}, "Lookup": {vault.OpLookup},
	"List": {vault.OpList}, "ListPage": {vault.OpList}, "Versions": {vault.OpVersions}, "Sweep": {vault.OpSweep},
	"Prepare": {vault.OpPrepare}, "Rotate": {vault.OpRotate}, "VerifyKEK": {vault.OpVerifyKEK}, "Keys": {vault.OpKeys},
	"Rewrap": {vault.OpRewrap}, "ReencryptObjects": {vault.OpReencryptObjects}, "RetireKeys": {vault.OpRetireKeys},
	"Disable": {vault.OpDisable}, "Enable": {vault.OpEnable}, "Shred": {vault.OpShred},
	"CancelShred": {vault.OpCancelShred}, "RunShreds": {vault.OpRunShreds}, "PendingShreds": {vault.OpPendingShreds},
	"ShredReceipts": {vault.OpShredReceipts}, "ShreddedKeys": {vault.OpShredReceipts}, "VerifyShred": {vault.OpVerifyShred},
	"SealField": {vault.OpSealField}, "OpenField": {vault.OpOpenField},
	"BlindIndex": {vault.OpIndexField}, "BlindIndexQuery": {vault.OpQueryIndex}, "PrepareIndex": {vault.OpIndexField},
	"Jobs": {vault.OpJobs}, "ForgetJob": {vault.OpForgetJob},
	"AuditKey": {vault.OpAuditKey}, "AuditKeys": {vault.OpAuditKey},
	"Check": {vault.OpCheck},
}

// unasked are the methods that do nothing that could be denied. Heads of audit logs are
// no secret, and kept in the background of whatever is logged.
var unasked = []string{"AuditHead", "AuditHeads", "KeepAuditHead", "Close", "Scope", "Stats", "Err", "KeyContext", "AEAD", "AEADWithContext", "Format"}

// allCalls is one call of every method of a vault and of a scope of orgA.
func allCalls(t testing.TB, v *vault.Vault, s samples) map[string]func() error {
	calls := callsWith(t, v, orgA, s)
	others := otherCalls(t, v)
	delete(others, "Prepare") // of no context
	maps.Copy(calls, others)
	for name, call := range scopeCalls(t, v, v.Scope(orgA), s) {
		calls["Scope."+name] = call
	}
	return calls
}

// No public method of Vault or Scope is forgotten: each has an operation, or is known to
// need none, and each operation has a method.
func TestEveryMethodIsAnOperation(t *testing.T) {
	v := vaulttest.New(t)
	calls := allCalls(t, v.Vault, sampleOf(t, v.Vault, orgA))
	for what, typ := range map[string]reflect.Type{"": reflect.TypeFor[*vault.Vault](), "Scope.": reflect.TypeFor[*vault.Scope]()} {
		for m := range typ.NumMethod() {
			name := typ.Method(m).Name
			if slices.Contains(unasked, name) {
				continue
			}
			if calls[what+name] == nil || operations[name] == nil {
				t.Errorf("%s%s has no call or no operation: it would not be asked about", what, name)
			}
		}
	}
	var used []vault.Operation
	for _, ops := range operations {
		used = append(used, ops...)
	}
	slices.Sort(used)
	if all := vault.Operations(); !slices.Equal(slices.Compact(used), all) {
		t.Errorf("methods have the operations\n%q, all are\n%q", used, all)
	}
}

// Every method asks about its operation, once, and what is denied calls no KMS and
// writes nothing, and is exactly one event, with who, why and the error.
func TestDeniedEverywhere(t *testing.T) {
	r, g := new(recorder), new(gate)
	v := vaulttest.New(t, withGate(g), func(c *vault.Config) { c.OnEvent, c.EventMessages = r.on, false })
	s := sampleOf(t, v.Vault, orgA)
	must(v.Put(t.Context(), orgB, "theirs", []byte("x")))(t)
	ctx := vault.WithReason(vault.WithActor(t.Context(), "ann"), "ticket 7")

	// Another process, whose cache is cold, so that each key would be a call.
	v = peerOf(t, v, withGate(g), func(c *vault.Config) { c.OnEvent, c.EventMessages, c.NoBackground = r.on, false, true })
	g.set(everything)
	v.Store.SetFault(func(op string) error {
		if !strings.HasPrefix(op, "Get") && !strings.HasPrefix(op, "List") {
			t.Errorf("a denied call went on to %s", op)
		}
		return nil
	})
	v.KEK.ResetCounts()
	for name, call := range allCalls(withContext{t, ctx}, v.Vault, s) {
		g.take()
		r.take()
		err := call()
		if !slices.Equal(classes(err), []string{"ErrAccessDenied"}) || !errors.Is(err, errNo) {
			t.Errorf("%s: %v", name, err)
		}
		asked, want := g.take(), operations[strings.TrimPrefix(name, "Scope.")]
		if len(asked) != 1 || asked[0].Operation != want[0] || asked[0].Actor != "ann" || asked[0].Reason != "ticket 7" {
			t.Errorf("%s asked %+v, want one about %s", name, asked, want[0])
		}
		events := r.take()
		if len(events) != 1 || !errors.Is(events[0].Err, vault.ErrAccessDenied) || !errors.Is(err, events[0].Err) ||
			events[0].Actor != "ann" || events[0].Reason != "ticket 7" {
			t.Errorf("%s made the events %+v", name, events)
		} else if want := expect[strings.TrimPrefix(name, "Scope.")]; want != "" && events[0].Name != want {
			t.Errorf("%s made %s, want %s", name, events[0].Name, want)
		}
	}
	if n := v.KEK.Calls(); n != 0 {
		t.Errorf("%d calls of the KEK", n)
	}
	if st := v.Stats(); st.CacheMisses != 0 || st.CachedKeys != 0 || st.Denied == 0 {
		t.Errorf("%+v", st)
	}
}

// What is allowed is asked about as often, and goes on.
func TestAllowedEverywhere(t *testing.T) {
	g := new(gate)
	v := vaulttest.New(t, withGate(g))
	s := sampleOf(t, v.Vault, orgA)
	calls := callsWith(t, v.Vault, orgA, s)
	for _, name := range order(calls) {
		g.take()
		ok(t, calls[name]())
		var asked []vault.Operation
		for _, r := range g.take() {
			asked = append(asked, r.Operation)
			if !maps.Equal(r.Context, orgA) || r.Match != nil || r.All {
				t.Errorf("%s asked about %+v", name, r)
			}
		}
		if !slices.Equal(asked, operations[name]) {
			t.Errorf("%s asked about %q", name, asked)
		}
	}
}

// Requests about contexts carry no namespace, those about many a Match or All, and each
// context of a Prepare is asked about on its own.
func TestWhatIsAskedAbout(t *testing.T) {
	ctx, g := t.Context(), new(gate)
	v := vaulttest.New(t, withGate(g), func(c *vault.Config) { c.Namespace = "billing" })
	g.set(func(r vault.AccessRequest) bool { return r.Context["organization_id"] == "org_02" })
	wantErr(t, v.Prepare(ctx, orgA, orgB), vault.ErrAccessDenied)
	if asked := g.take(); len(asked) != 2 || len(asked[0].Context) != 1 {
		t.Errorf("Prepare asked %+v", asked)
	}
	if n := v.Stats().CachedKeys; n != 1 {
		t.Errorf("%d keys, want orgA's", n)
	}
	g.set(nil)
	ok(t, firstErr(v.List(ctx, orgA, vault.ListOptions{Within: true, Prefix: "p/"})))
	ok(t, firstErrOf(v.Keys(ctx, vault.KeyFilter{Match: orgA})))
	must(v.Rewrap(ctx, vault.RewrapOptions{Match: orgA}))(t)
	must(v.ReencryptObjects(ctx, vault.ReencryptOptions{Match: orgA}))(t)
	must(v.Disable(ctx, orgA))(t)
	must(v.Enable(ctx, orgA))(t)
	receipt := must(v.Shred(ctx, orgA, vault.ShredOptions{After: 1e9}))(t)
	ok(t, v.CancelShred(ctx, receipt.ID))
	for _, r := range g.take() {
		if !maps.Equal(r.Match, orgA) || r.Context != nil || r.All {
			t.Errorf("asked %+v, want about all that contain orgA", r)
		}
		if (r.Operation == vault.OpList) != (r.Prefix == "p/") || (r.Operation == vault.OpCancelShred) != (r.ObjectID == receipt.ID) {
			t.Errorf("asked %+v", r)
		}
	}
	must(v.Rewrap(ctx, vault.RewrapOptions{All: true}))(t)
	must(v.Sweep(ctx))(t)
	for _, r := range g.take() {
		if !r.All || r.Match != nil || r.Context != nil {
			t.Errorf("asked %+v, want about all", r)
		}
	}
}

// Rekeying is decided for both contexts, and the event of a denial is about the one that
// is denied.
func TestRekeyAsksAboutBothContexts(t *testing.T) {
	ctx, g := t.Context(), new(gate)
	v := vaulttest.New(t, withGate(g))
	key := must(v.CreateDataKey(ctx, orgA))(t)
	for op, about := range map[vault.Operation]vault.KeyContext{vault.OpRekeyFrom: orgA, vault.OpRekeyTo: orgB} {
		g.set(func(r vault.AccessRequest) bool { return r.Operation == op && maps.Equal(r.Context, about) })
		_, err := v.RekeyDataKey(ctx, orgA, key.Sealed, orgB)
		wantErr(t, err, vault.ErrAccessDenied)
		events := v.Events(vault.DEKRekeyed)
		if last := events[len(events)-1]; last.ContextHash != hashIn(t, about, "") {
			t.Errorf("%s: the event is about another context", op)
		}
	}
	g.set(nil)
	must(v.RekeyDataKey(ctx, orgA, key.Sealed, orgB))(t)
}

// Who is denied sees the same whether the object is there, was never there, is another
// context's, or can't be read.
func TestDenialRevealsNothing(t *testing.T) {
	ctx, g := t.Context(), new(gate)
	v := vaulttest.New(t, withGate(g))
	meta := must(v.Put(ctx, orgA, "there", []byte("x")))(t)
	theirs := must(v.Put(ctx, orgB, "theirs", []byte("x")))(t)
	receipt := must(v.Shred(ctx, orgB, vault.ShredOptions{After: 1e12}))(t)
	g.set(everything)
	mask := func(err error) string {
		text := err.Error()
		for _, s := range []string{"there", "nope", meta.ID.String(), theirs.ID.String(), receipt.ID.String(), vault.ID{9}.String()} {
			text = strings.ReplaceAll(text, s, "*")
		}
		return text
	}
	for what, pair := range map[string][2]func() error{
		"Get":      {func() error { return second(v.Get(ctx, orgA, "there")) }, func() error { return second(v.Get(ctx, orgA, "nope")) }},
		"GetMany":  {func() error { return second(v.GetMany(ctx, orgA, "there")) }, func() error { return second(v.GetMany(ctx, orgA, "nope")) }},
		"GetByID":  {func() error { return second(v.GetByID(ctx, orgA, meta.ID)) }, func() error { return second(v.GetByID(ctx, orgA, theirs.ID)) }},
		"Describe": {func() error { return second(v.Describe(ctx, orgA, "there")) }, func() error { return second(v.Describe(ctx, orgA, "nope")) }},
		"Versions": {func() error { return firstErr(v.Versions(ctx, orgA, "there")) }, func() error { return firstErr(v.Versions(ctx, orgA, "nope")) }},
		"Delete":   {func() error { return v.Delete(ctx, orgA, "there") }, func() error { return v.Delete(ctx, orgA, "nope") }},
		"Put":      {func() error { return second(v.Put(ctx, orgA, "there", nil)) }, func() error { return second(v.Put(ctx, orgA, "nope", nil)) }},
		"Put if absent": {
			func() error { return second(v.Put(ctx, orgA, "there", nil, vault.IfAbsent())) },
			func() error { return second(v.Put(ctx, orgA, "nope", nil, vault.IfAbsent())) },
		},
		"Lookup":      {func() error { return second(v.Lookup(ctx, meta.ID)) }, func() error { return second(v.Lookup(ctx, vault.ID{9})) }},
		"CancelShred": {func() error { return v.CancelShred(ctx, receipt.ID) }, func() error { return v.CancelShred(ctx, vault.ID{9}) }},
	} {
		there, not := pair[0](), pair[1]()
		wantClass(t, there, "ErrAccessDenied")
		wantClass(t, not, "ErrAccessDenied")
		if mask(there) != mask(not) {
			t.Errorf("%s tells them apart:\n%v\n%v", what, there, not)
		}
	}
	v.Store.SetFault(func(op string) error {
		if op == "GetObject" {
			return storage.ErrCorrupt
		}
		return nil
	})
	_, err := v.Get(ctx, orgA, "there")
	wantClass(t, err, "ErrAccessDenied")
}

// An authorizer's own error doesn't pass for one of the vault's: GetMany leaves out
// what isn't there, and not what is denied.
func TestDenialThatLooksLikeNotFound(t *testing.T) {
	ctx := t.Context()
	v := vaulttest.New(t, func(c *vault.Config) {
		c.Authorizer = vault.AuthorizerFunc(func(_ context.Context, r vault.AccessRequest) error {
			if r.Operation == vault.OpGet && r.Object == "secret" {
				return vault.ErrNotFound // of its own table of grants
			}
			return nil
		})
	})
	must(v.Put(ctx, orgA, "secret", []byte("x")))(t)
	must(v.Put(ctx, orgA, "plain", []byte("y")))(t)
	objects, err := v.GetMany(ctx, orgA, "secret", "plain", "absent")
	wantErr(t, err, vault.ErrAccessDenied)
	if len(objects) != 1 || string(objects["plain"].Value) != "y" {
		t.Errorf("got %v", objects)
	}
	if d := v.Decisions(vault.OpGet); len(d) != 3 {
		t.Errorf("%d decisions, want one for each name", len(d))
	}
}

// A list is decided once, however many pages it has; ListPage for each.
func TestListIsDecidedOnce(t *testing.T) {
	ctx, g := t.Context(), new(gate)
	v := vaulttest.New(t, withGate(g))
	for _, name := range []string{"a", "b", "c"} {
		must(v.Put(ctx, userA, name, nil))(t)
	}
	g.take()
	list := v.List(ctx, orgA, vault.ListOptions{Within: true, Limit: 1})
	if got := names(t, list); len(got) != 3 || len(g.take()) != 1 {
		t.Errorf("listed %q, or asked not once", got)
	}
	g.set(everything)
	wantErr(t, firstErr(list), vault.ErrAccessDenied)
	g.set(nil)
	g.take()
	page := must(v.ListPage(ctx, orgA, vault.ListOptions{Within: true, Limit: 1}))(t)
	g.set(everything)
	_, err := v.ListPage(ctx, orgA, vault.ListOptions{Within: true, Limit: 1, Cursor: page.Next})
	wantErr(t, err, vault.ErrAccessDenied)
}

// The authorizer sees contexts without vault:namespace, also that of a stored row.
func TestAuthorizerSeesNoNamespace(t *testing.T) {
	ctx, g := t.Context(), new(gate)
	v := vaulttest.New(t, withGate(g), func(c *vault.Config) { c.Namespace = "billing" })
	meta := must(v.Put(ctx, orgA, "a", nil))(t)
	must(v.Lookup(ctx, meta.ID))(t)
	for _, r := range g.take() {
		if _, there := r.Context[keyctx.ReservedNamespace]; there || !maps.Equal(r.Context, orgA) {
			t.Errorf("asked about %v", r.Context)
		}
	}
}
