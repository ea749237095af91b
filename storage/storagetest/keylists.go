package storagetest

import (
	"slices"
	"strings"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// keys reads all pages of q.
func (e *env) keys(q storage.KeyQuery) (all []storage.KeyRecord) {
	for pages := 0; ; pages++ {
		page, err := e.s.ListKeys(e.ctx, q)
		e.ok(err)
		e.pageShape(len(page.Keys), q.Limit, page.Next)
		all = append(all, page.Keys...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
		if pages > 10_000 {
			e.fatalf("the list doesn't end")
		}
	}
}

// wantKeys wants the list to be these records, in its order.
func (e *env) wantKeys(q storage.KeyQuery, want ...storage.KeyRecord) {
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b storage.KeyRecord) int { return strings.Compare(keyPosition(a), keyPosition(b)) })
	got := e.keys(q)
	if len(got) != len(want) {
		e.errorf("got %d keys, want %d, for %+v", len(got), len(want), q)
		return
	}
	for i := range got {
		e.sameKey(got[i], want[i])
	}
}

// keyring inserts keys of many contexts, purposes, versions and states.
func (e *env) keyring() (all []storage.KeyRecord) {
	for _, ns := range []string{"", "app", "app2"} {
		for i := range 4 {
			for _, more := range [][]string{nil, {"user_id", "u1"}, {"user_id", "u2", "env", "prod"}} {
				kc := tenant(ns, i, more...)
				all = append(all,
					e.insert(key(kc, keyctx.PurposeData, 1, func(r *storage.KeyRecord) { r.State = storage.StateDecryptOnly })),
					e.insert(key(kc, keyctx.PurposeData, 2)),
					e.insert(key(kc, keyctx.PurposeIndex, 1)),
				)
			}
		}
	}
	return all
}

func filterKeys(all []storage.KeyRecord, want func(storage.KeyRecord) bool) (out []storage.KeyRecord) {
	for _, r := range all {
		if want(r) {
			out = append(out, r)
		}
	}
	return out
}

func checkKeyList(e *env) {
	all := e.keyring()
	for _, f := range filters() {
		inFilter := func(r storage.KeyRecord) bool { return f.matches(r.Context, r.ContextHash) }
		e.wantKeys(storage.KeyQuery{Contexts: f.filter}, filterKeys(all, inFilter)...)
		e.wantKeys(storage.KeyQuery{Contexts: f.filter, Purpose: keyctx.PurposeData}, filterKeys(all, func(r storage.KeyRecord) bool {
			return inFilter(r) && r.Purpose == keyctx.PurposeData
		})...)
		e.wantKeys(storage.KeyQuery{Contexts: f.filter, State: storage.StateDecryptOnly, Limit: 2}, filterKeys(all, func(r storage.KeyRecord) bool {
			return inFilter(r) && r.State == storage.StateDecryptOnly
		})...)
	}
}

func checkKeyListPaging(e *env) {
	all := e.keyring()
	every := storage.ContextFilter{All: true, AnyNamespace: true}
	for _, limit := range []int{1, 2, 3, 7, len(all) - 1, len(all), len(all) + 1} {
		e.wantKeys(storage.KeyQuery{Contexts: every, Limit: limit}, all...)
	}
	inApp := filterKeys(all, func(r storage.KeyRecord) bool { return r.Context.Namespace() == "app" })
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{All: true, Namespace: "app"}, Limit: 5}, inApp...)

	// Keys that are inserted and deleted meanwhile disturb nobody else's place.
	q := storage.KeyQuery{Contexts: every, Limit: 4}
	seen := map[keyctx.KeyID]int{}
	doomed := filterKeys(all, func(r storage.KeyRecord) bool { return r.Purpose == keyctx.PurposeIndex })
	for i := 0; ; i++ {
		page, err := e.s.ListKeys(e.ctx, q)
		e.ok(err)
		for _, r := range page.Keys {
			seen[r.KeyID]++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
		e.insert(key(tenant("later", i), keyctx.PurposeData, 1))
		if i < len(doomed) {
			e.ok(e.s.DeleteKey(e.ctx, doomed[i].KeyID, 1))
		}
	}
	for _, r := range all {
		if n := seen[r.KeyID]; n != 1 && (n != 0 || r.Purpose != keyctx.PurposeIndex) {
			e.errorf("a key was listed %d times", n)
		}
	}
}

func checkKeyListParent(e *env) {
	parent, other := e.insert(key(tenant("", 1), keyctx.PurposeWrapping, 1)), randomKeyID()
	childOf := func(id keyctx.KeyID) func(*storage.KeyRecord) {
		return func(r *storage.KeyRecord) { r.ParentID = id }
	}
	var children []storage.KeyRecord
	for i := range 12 {
		kc := tenant("", 1, "user_id", string(rune('a'+i)))
		children = append(children, e.insert(key(kc, keyctx.PurposeData, 1, childOf(parent.KeyID))))
		e.insert(key(kc, keyctx.PurposeData, 2, childOf(other)))
		e.insert(key(kc, keyctx.PurposeIndex, 1))
	}
	inApp := e.insert(key(tenant("app", 1, "user_id", "a"), keyctx.PurposeData, 1, childOf(parent.KeyID)))
	all := storage.ContextFilter{All: true}
	e.wantKeys(storage.KeyQuery{Contexts: all, ParentID: parent.KeyID}, children...)
	e.wantKeys(storage.KeyQuery{Contexts: all, ParentID: parent.KeyID, Limit: 5}, children...)
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{All: true, Namespace: "app"}, ParentID: parent.KeyID}, inApp)
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{Match: keyctx.KeyContext{"user_id": "b"}}, ParentID: parent.KeyID}, children[1])

	moved := children[0]
	moved.ParentID = other
	e.ok(e.s.UpdateKey(e.ctx, moved))
	e.ok(e.s.DeleteKey(e.ctx, children[1].KeyID, 1))
	e.wantKeys(storage.KeyQuery{Contexts: all, ParentID: parent.KeyID}, children[2:]...)
	orphan := children[2]
	orphan.ParentID = keyctx.KeyID{}
	e.ok(e.s.UpdateKey(e.ctx, orphan))
	e.wantKeys(storage.KeyQuery{Contexts: all, ParentID: parent.KeyID}, children[3:]...)
	if n := len(e.keys(storage.KeyQuery{Contexts: all, ParentID: other})); n != 13 {
		e.errorf("the other parent has %d children, want 13", n)
	}
}

// filter is a filter with what it should select, worked out another way than
// ContextFilter.Matches does.
type filter struct {
	filter  storage.ContextFilter
	matches func(kc keyctx.KeyContext, h keyctx.Hash) bool
}

func filters() []filter {
	one := hashOf(tenant("app", 2, "user_id", "u1"))
	pair := func(ns, k, v string) func(keyctx.KeyContext, keyctx.Hash) bool {
		return func(kc keyctx.KeyContext, _ keyctx.Hash) bool {
			got, ok := kc[keyctx.ReservedNamespace]
			return (ns == "*" || got == ns && ok == (ns != "")) && (k == "" || kc[k] == v)
		}
	}
	both := func(f, g func(keyctx.KeyContext, keyctx.Hash) bool) func(keyctx.KeyContext, keyctx.Hash) bool {
		return func(kc keyctx.KeyContext, h keyctx.Hash) bool { return f(kc, h) && g(kc, h) }
	}
	isOne := func(_ keyctx.KeyContext, h keyctx.Hash) bool { return h == one }
	user := keyctx.KeyContext{"user_id": "u1"}
	org := keyctx.KeyContext{"organization_id": "org_03"}
	three := keyctx.KeyContext{"organization_id": "org_01", "user_id": "u2", "env": "prod"}
	return []filter{
		{storage.ContextFilter{Hash: one}, isOne},
		{storage.ContextFilter{Hash: one, Namespace: "app2"}, isOne}, // exact: the namespace says nothing
		{storage.ContextFilter{All: true}, pair("", "", "")},
		{storage.ContextFilter{All: true, Namespace: "app"}, pair("app", "", "")},
		{storage.ContextFilter{All: true, Namespace: "ap"}, pair("ap", "", "")},
		{storage.ContextFilter{All: true, AnyNamespace: true}, pair("*", "", "")},
		{storage.ContextFilter{Match: user}, pair("", "user_id", "u1")},
		{storage.ContextFilter{Match: user, Namespace: "app"}, pair("app", "user_id", "u1")},
		{storage.ContextFilter{Match: user, Namespace: "nobody"}, pair("nobody", "user_id", "u1")},
		{storage.ContextFilter{Match: org, AnyNamespace: true}, pair("*", "organization_id", "org_03")},
		{storage.ContextFilter{Match: three, Namespace: "app2"}, both(pair("app2", "organization_id", "org_01"), pair("app2", "env", "prod"))},
		{storage.ContextFilter{Match: keyctx.KeyContext{"organization_id": "org_01", "user_id": "u9"}}, pair("", "user_id", "u9")},
		{storage.ContextFilter{Match: keyctx.KeyContext{"organization_id": "org_0"}}, pair("", "organization_id", "org_0")},
	}
}
