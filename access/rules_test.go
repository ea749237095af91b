package access_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
)

var (
	orgA  = vault.KeyContext{"organization_id": "org_01"}
	orgB  = vault.KeyContext{"organization_id": "org_02"}
	userA = vault.KeyContext{"organization_id": "org_01", "user_id": "u_1"}
)

// own is a rule for services and their own tenant.
var own = access.Rule{
	Name: "own-tenant", Effect: access.Allow,
	Attributes: map[string][]string{"kind": {"service"}},
	Operations: []vault.Operation{access.Read, access.Describe},
	Context:    map[string]string{"organization_id": "${actor.organization_id}"},
}

func rulesOf(t testing.TB, rules ...access.Rule) *access.Rules {
	t.Helper()
	r, err := access.NewRules(rules...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func service(organization string) vault.Attributes {
	return vault.NewAttributes(map[string]string{"kind": "service", "organization_id": organization})
}

func wantAllowed(t testing.TB, r *access.Rules, q vault.AccessRequest, want bool) {
	t.Helper()
	d, err := r.Explain(q), r.Authorize(t.Context(), q)
	if d.Allowed != want || (err == nil) != want {
		t.Errorf("%s: explained as %+v, decided as %v; want allowed: %v", q.Operation, d, err, want)
	}
}

// No rules, the zero value, and rules about something else: denied.
func TestDenyByDefault(t *testing.T) {
	for _, r := range []*access.Rules{rulesOf(t), new(access.Rules), rulesOf(t, own)} {
		for _, op := range vault.Operations() {
			q := vault.AccessRequest{Operation: op, Actor: "ann", Context: orgA}
			wantAllowed(t, r, q, false)
			if err := r.Authorize(t.Context(), q); !errors.Is(err, access.ErrNotAllowed) {
				t.Errorf("%s: %v", op, err)
			}
		}
	}
	anything := access.Rule{Name: "all", Effect: access.Allow, Anyone: true, AnyContext: true, Operations: []vault.Operation{access.Read, access.Write, access.Describe, access.Manage}}
	wantAllowed(t, rulesOf(t, anything), vault.AccessRequest{Operation: "data.unknown", Context: orgA}, false)
}

// Each operation is in exactly one group, so that a new one is put into one.
func TestGroupsCoverAllOperations(t *testing.T) {
	for _, op := range vault.Operations() {
		var in []string
		for _, g := range []vault.Operation{access.Read, access.Write, access.Describe, access.Manage} {
			r := rulesOf(t, access.Rule{Name: string(g), Effect: access.Allow, Anyone: true, AnyContext: true, Operations: []vault.Operation{g}})
			if r.Explain(vault.AccessRequest{Operation: op, Context: orgA}).Allowed {
				in = append(in, string(g))
			}
		}
		if len(in) != 1 {
			t.Errorf("%s is in the groups %q", op, in)
		}
	}
}

func TestDenyBeatsAllow(t *testing.T) {
	all := access.Rule{Name: "all", Effect: access.Allow, Anyone: true, AnyContext: true, Operations: []vault.Operation{access.Read}}
	not := access.Rule{Name: "not-there", Effect: access.Deny, Anyone: true, Context: map[string]string{"organization_id": "org_02"}, Operations: []vault.Operation{vault.OpGet}}
	for _, r := range []*access.Rules{rulesOf(t, all, not), rulesOf(t, not, all)} {
		wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpGet, Context: orgA}, true)
		wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpDecrypt, Context: orgB}, true)
		q := vault.AccessRequest{Operation: vault.OpGet, Context: orgB}
		wantAllowed(t, r, q, false)
		if err := r.Authorize(t.Context(), q); !errors.Is(err, access.ErrDenied) || r.Explain(q).Rule != "not-there" {
			t.Errorf("%v, %+v", err, r.Explain(q))
		}
	}
}

// What a placeholder stands for is compared and nothing else: an attribute that looks
// like one, an absent and an empty one match nothing.
func TestPlaceholders(t *testing.T) {
	r := rulesOf(t, own, access.Rule{
		Name: "own-user", Effect: access.Allow, Anyone: true, Operations: []vault.Operation{vault.OpDecrypt},
		Context: map[string]string{"user_id": "${actor}"},
	})
	get := func(a vault.Attributes, kc vault.KeyContext) vault.AccessRequest {
		return vault.AccessRequest{Operation: vault.OpGet, Attributes: a, Context: kc}
	}
	wantAllowed(t, r, get(service("org_01"), orgA), true)
	wantAllowed(t, r, get(service("org_01"), userA), true)
	wantAllowed(t, r, get(service("org_01"), orgB), false)
	for _, org := range []string{"", "${actor.organization_id}", "${actor.kind}", "*", "org_0", "org_01 ", "ORG_01", "org_01\x00"} {
		wantAllowed(t, r, get(service(org), orgA), false)
	}
	// Whoever can choose an attribute, or a context, can't make one stand for the other.
	for _, kc := range []vault.KeyContext{{"organization_id": "${actor.organization_id}"}, {"organization_id": "${actor}"}} {
		wantAllowed(t, r, get(service("org_01"), kc), false)
	}
	wantAllowed(t, r, get(vault.NewAttributes(map[string]string{"kind": "service"}), orgA), false)
	wantAllowed(t, r, get(vault.Attributes{}, orgA), false)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpDecrypt, Actor: "u_1", Context: userA}, true)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpDecrypt, Actor: "u_2", Context: userA}, false)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpDecrypt, Actor: "", Context: userA}, false)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpDecrypt, Actor: "u_1", Context: orgA}, false)
}

// Whoever is limited to a tenant lists within it and nowhere else; a rule that denies
// some of what a list may show denies the list.
func TestManyContexts(t *testing.T) {
	r := rulesOf(t, own, access.Rule{
		Name: "admins", Effect: access.Allow, Actors: []string{"root"}, AnyContext: true,
		Operations: []vault.Operation{access.Describe, access.Manage},
	})
	list := func(match vault.KeyContext, all bool) vault.AccessRequest {
		return vault.AccessRequest{Operation: vault.OpKeys, Attributes: service("org_01"), Match: match, All: all}
	}
	wantAllowed(t, r, list(orgA, false), true)
	wantAllowed(t, r, list(userA, false), true)
	wantAllowed(t, r, list(orgB, false), false)
	wantAllowed(t, r, list(vault.KeyContext{"user_id": "u_1"}, false), false)
	wantAllowed(t, r, list(nil, true), false)
	wantAllowed(t, r, list(nil, false), false)
	rewrap := vault.AccessRequest{Operation: vault.OpRewrap, Actor: "root", All: true}
	wantAllowed(t, r, rewrap, true)

	vip := access.Rule{Name: "vip", Effect: access.Deny, Anyone: true, Operations: []vault.Operation{access.Describe, access.Manage}, Context: map[string]string{"user_id": "vip"}}
	if err := r.Set(vip); err != nil {
		t.Fatal(err)
	}
	wantAllowed(t, r, list(orgA, false), false) // vip may be in it
	wantAllowed(t, r, list(userA, false), true)
	wantAllowed(t, r, rewrap, false)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpDescribe, Attributes: service("org_01"), Context: orgA}, true)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpLookup, Actor: "root", ObjectID: vault.ID{1}}, false)
	if err := r.Remove("vip"); err != nil {
		t.Fatal(err)
	}
	wantAllowed(t, r, rewrap, true)
}

func TestObjectsAndLabels(t *testing.T) {
	anyone := func(name string, e access.Effect) access.Rule {
		return access.Rule{Name: name, Effect: e, Anyone: true, AnyContext: true, Operations: []vault.Operation{access.Read, access.Write, access.Describe, access.Manage}}
	}
	public := anyone("public", access.Allow)
	public.ObjectPrefix = "public/"
	red := anyone("red", access.Allow)
	red.Labels = map[string]string{"team": "red"}
	all := anyone("all", access.Allow)
	hold := anyone("hold", access.Deny)
	hold.Labels = map[string]string{"hold": "yes"}
	vip := anyone("vip", access.Deny)
	vip.ObjectPrefix = "vip/"
	none, team, held := map[string]string{}, map[string]string{"team": "red"}, map[string]string{"hold": "yes"}
	for _, tc := range []struct {
		what  string
		rules []access.Rule
		q     vault.AccessRequest
		want  bool
	}{
		{"a name", []access.Rule{public}, vault.AccessRequest{Operation: vault.OpGet, Object: "public/a"}, true},
		{"another name", []access.Rule{public}, vault.AccessRequest{Operation: vault.OpGet, Object: "publi"}, false},
		{"no name known", []access.Rule{public}, vault.AccessRequest{Operation: vault.OpGet, ObjectID: vault.ID{1}}, false},
		{"a list of them", []access.Rule{public}, vault.AccessRequest{Operation: vault.OpList, Prefix: "public/x"}, true},
		{"a wider list", []access.Rule{public}, vault.AccessRequest{Operation: vault.OpList, Prefix: "pub"}, false},
		{"all names", []access.Rule{public}, vault.AccessRequest{Operation: vault.OpList}, false},
		{"a message", []access.Rule{public}, vault.AccessRequest{Operation: vault.OpDecrypt}, false},
		{"all but vip", []access.Rule{all, vip}, vault.AccessRequest{Operation: vault.OpList}, false},
		{"a list beside vip", []access.Rule{all, vip}, vault.AccessRequest{Operation: vault.OpList, Prefix: "public/"}, true},
		{"a list of vip", []access.Rule{all, vip}, vault.AccessRequest{Operation: vault.OpList, Prefix: "vip/x"}, false},
		{"shred with vip in it", []access.Rule{all, vip}, vault.AccessRequest{Operation: vault.OpShred, Match: orgA}, false},
		{"sweep", []access.Rule{all, vip}, vault.AccessRequest{Operation: vault.OpSweep, All: true}, false},
		{"a message beside vip", []access.Rule{all, vip}, vault.AccessRequest{Operation: vault.OpDecrypt}, true},

		{"labelled", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpGet, Labels: team}, true},
		{"not labelled", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpGet, Labels: none}, false},
		{"not there", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpGet}, false},
		{"first put", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpPut, NewLabels: team}, true},
		{"first put without", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpPut}, false},
		{"put over another's", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpPut, Labels: none, NewLabels: team}, false},
		{"put that gives it away", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpPut, Labels: team}, false},
		{"put over one's own", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpPut, Labels: team, NewLabels: team}, true},
		{"a list of labelled", []access.Rule{red}, vault.AccessRequest{Operation: vault.OpList}, false},
		{"on hold", []access.Rule{all, hold}, vault.AccessRequest{Operation: vault.OpDelete, Labels: held}, false},
		{"not on hold", []access.Rule{all, hold}, vault.AccessRequest{Operation: vault.OpDelete, Labels: none}, true},
		{"put over what is on hold", []access.Rule{all, hold}, vault.AccessRequest{Operation: vault.OpPut, Labels: held}, false},
		{"put on hold", []access.Rule{all, hold}, vault.AccessRequest{Operation: vault.OpPut, Labels: none, NewLabels: held}, false},
		{"a first put on hold", []access.Rule{all, hold}, vault.AccessRequest{Operation: vault.OpPut, NewLabels: held}, false},
		{"a put beside", []access.Rule{all, hold}, vault.AccessRequest{Operation: vault.OpPut, NewLabels: none}, true},
	} {
		if tc.q.Match == nil && !tc.q.All {
			tc.q.Context = orgA
		}
		t.Run(tc.what, func(t *testing.T) { wantAllowed(t, rulesOf(t, tc.rules...), tc.q, tc.want) })
	}
}

// Break-glass: without a reason that says anything it is denied, and says why.
func TestReasonIsRequired(t *testing.T) {
	r := rulesOf(t, access.Rule{
		Name: "break-glass", Effect: access.Allow, Attributes: map[string][]string{"role": {"oncall", "support"}},
		AnyContext: true, Operations: []vault.Operation{access.Read}, RequireReason: true,
	})
	q := vault.AccessRequest{Operation: vault.OpGet, Context: orgA, Attributes: vault.NewAttributes(map[string]string{"role": "oncall"})}
	for _, reason := range []string{"", " ", "-", "...", "\t", "\ufffd"} {
		q.Reason = reason
		wantAllowed(t, r, q, false)
		d, err := r.Explain(q), r.Authorize(t.Context(), q)
		if !errors.Is(err, access.ErrReasonRequired) || !d.ReasonMissing || d.Rule != "break-glass" || !strings.Contains(err.Error(), "break-glass") {
			t.Errorf("%q: %v, %+v", reason, err, d)
		}
	}
	q.Reason = "INC-7"
	wantAllowed(t, r, q, true)
	q.Attributes = vault.Attributes{}
	wantAllowed(t, r, q, false)
	if d := r.Explain(q); d.ReasonMissing {
		t.Error("a reason wouldn't help")
	}
}

func TestInvalidRules(t *testing.T) {
	for what, change := range map[string]func(*access.Rule){
		"no name":               func(r *access.Rule) { r.Name = "" },
		"a name with a newline": func(r *access.Rule) { r.Name = "a\nb" },
		"no effect":             func(r *access.Rule) { r.Effect = 0 },
		"no operation":          func(r *access.Rule) { r.Operations = nil },
		"an unknown operation":  func(r *access.Rule) { r.Operations = []vault.Operation{"data.reed"} },
		"a star":                func(r *access.Rule) { r.Operations = []vault.Operation{"*"} },
		"nobody":                func(r *access.Rule) { r.Attributes = nil },
		"the last actor gone":   func(r *access.Rule) { r.Attributes, r.Actors, r.Anyone = nil, []string{}, true },
		"anyone, and someone":   func(r *access.Rule) { r.Anyone = true },
		"the empty actor":       func(r *access.Rule) { r.Actors = []string{""} },
		"no value":              func(r *access.Rule) { r.Attributes = map[string][]string{"kind": {}} },
		"the empty value":       func(r *access.Rule) { r.Attributes = map[string][]string{"kind": {""}} },
		"no context":            func(r *access.Rule) { r.Context = nil },
		"an empty context":      func(r *access.Rule) { r.Context, r.AnyContext = map[string]string{}, true },
		"any context, and one":  func(r *access.Rule) { r.AnyContext = true },
		"an empty pair":         func(r *access.Rule) { r.Context = map[string]string{"a": ""} },
		"a reserved pair":       func(r *access.Rule) { r.Context = map[string]string{"vault:namespace": "x"} },
		"a reserved one's":      func(r *access.Rule) { r.Context = map[string]string{"vault:namespace": "${actor}"} },
		"half a placeholder":    func(r *access.Rule) { r.Context = map[string]string{"a": "${actor.x"} },
		"a placeholder in text": func(r *access.Rule) { r.Context = map[string]string{"a": "org-${actor.x}"} },
		"text after one":        func(r *access.Rule) { r.Context = map[string]string{"a": "${actor.x}\n"} },
		"two placeholders":      func(r *access.Rule) { r.Context = map[string]string{"a": "${actor.x}${actor.y}"} },
		"one in another":        func(r *access.Rule) { r.Context = map[string]string{"a": "${actor.${actor.x}}"} },
		"an unknown one":        func(r *access.Rule) { r.Context = map[string]string{"a": "${env.HOME}"} },
		"one without a name":    func(r *access.Rule) { r.Context = map[string]string{"a": "${actor.}"} },
		"labels, but none":      func(r *access.Rule) { r.Labels = map[string]string{} },
		"an empty label":        func(r *access.Rule) { r.Labels = map[string]string{"": "x"} },
		"not UTF-8":             func(r *access.Rule) { r.ObjectPrefix = "\xff" },
		"deny unless a reason":  func(r *access.Rule) { r.Effect, r.RequireReason = access.Deny, true },
	} {
		rule := own
		change(&rule)
		before := rulesOf(t, own)
		if err := before.Set(rule); !errors.Is(err, access.ErrRule) || !errors.Is(rule.Validate(), access.ErrRule) {
			t.Errorf("%s: %v", what, err)
		}
		if err := before.Replace(rule); !errors.Is(err, access.ErrRule) || len(before.All()) != 1 || before.All()[0].Name != own.Name {
			t.Errorf("%s: %v, and the rules are %v", what, err, before.All())
		}
	}
	if _, err := access.NewRules(own, own); !errors.Is(err, access.ErrRule) {
		t.Errorf("two of a name: %v", err)
	}
	if err := rulesOf(t).Remove("nope"); !errors.Is(err, access.ErrNoRule) {
		t.Error(err)
	}
}

// Rules keep nothing of what they are given, and hand out copies.
func TestRulesAreCopied(t *testing.T) {
	rule := own
	rule.Attributes = map[string][]string{"kind": {"service"}}
	rule.Context = map[string]string{"organization_id": "${actor.organization_id}"}
	r := rulesOf(t, rule)
	rule.Attributes["kind"][0], rule.Context["organization_id"] = "anything", "org_02"
	got := r.All()
	got[0].Attributes["kind"][0], got[0].Operations[0] = "anything", access.Manage
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpGet, Attributes: service("org_01"), Context: orgA}, true)
	wantAllowed(t, r, vault.AccessRequest{Operation: vault.OpGet, Attributes: service("org_01"), Context: orgB}, false)
}

// Rules change while they are asked; a change counts for what is asked after it.
func TestRulesChangeWhileAsked(t *testing.T) {
	r := rulesOf(t, own)
	q := vault.AccessRequest{Operation: vault.OpGet, Attributes: service("org_01"), Context: orgA}
	deny := access.Rule{Name: "stop", Effect: access.Deny, Anyone: true, AnyContext: true, Operations: []vault.Operation{access.Read}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				_ = r.Authorize(t.Context(), q)
				_ = r.All()
			}
		})
	}
	for range 100 {
		if err := r.Set(deny); err != nil {
			t.Error(err)
		}
		wantAllowed(t, r, q, false)
		if err := r.Remove("stop"); err != nil {
			t.Error(err)
		}
		wantAllowed(t, r, q, true)
	}
	wg.Wait()
	second := own
	second.Effect = access.Deny
	if err := r.Set(second); err != nil || len(r.All()) != 1 {
		t.Errorf("%v, %d rules", err, len(r.All()))
	}
	wantAllowed(t, r, q, false)
}
