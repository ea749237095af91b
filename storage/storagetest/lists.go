package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// awkwardNames are names that are each other's prefixes, or sort differently
// by anything but their bytes.
var awkwardNames = []string{
	"a", "A", "aa", "a/", "a/b", "a0", "a b", "a'b\"", "a%b", "a_b", "a\\b", "ä", "a\u0308", "Z", "z", "-", "~", " ", "é",
	"\u00ff", "\u07ff", "\u0800", "\uffff", "\uffff\uffff", "\U00010000", "\U0010ffff", "\U0010ffff\U0010ffff", "\U0010ffffa",
	"10", "9", "日本語", "日本", strings.Repeat("\U0010ffff", storage.MaxNameLen/4), strings.Repeat("a", storage.MaxNameLen),
}

func checkListByName(e *env) {
	var all []storage.ObjectRecord
	for _, kc := range []keyctx.KeyContext{tenant("app", 1), tenant("app", 2), tenant("app", 3)} {
		for i, name := range awkwardNames {
			r := e.put(object(kc, name))
			if i%3 == 0 {
				r = e.put(object(kc, name))
			}
			all = append(all, r)
		}
	}
	one := storage.ContextFilter{Hash: all[0].ContextHash}
	inOne := all[:len(awkwardNames)]
	for _, down := range []bool{false, true} {
		for _, limit := range listLimits(len(inOne)) {
			e.wantObjects(storage.ObjectQuery{Contexts: one, Descending: down, Limit: limit}, inOne...)
		}
		for _, limit := range listLimits(len(all)) {
			e.wantObjects(storage.ObjectQuery{Contexts: storage.ContextFilter{All: true, Namespace: "app"}, Descending: down, Limit: limit, WithEnvelope: true}, all...)
		}
		for _, prefix := range append(slices.Clone(awkwardNames), "b", "\xff", "\U0010fffe", "日", "\xe6") {
			has := func(r storage.ObjectRecord) bool { return strings.HasPrefix(r.Name, prefix) }
			e.wantObjects(storage.ObjectQuery{Contexts: one, NamePrefix: prefix, Descending: down, Limit: 2}, filterObjects(inOne, has)...)
			e.wantObjects(storage.ObjectQuery{Contexts: everything, NamePrefix: prefix, Descending: down}, filterObjects(all, has)...)
		}
	}
}

func checkListByUpdated(e *env) {
	var all []storage.ObjectRecord
	at := func(t time.Time) func(*storage.ObjectRecord) {
		return func(r *storage.ObjectRecord) { r.UpdatedAt = t }
	}
	times := []time.Time{base.Add(-time.Hour), time.Date(1955, 1, 1, 0, 0, 0, 0, time.UTC), base, base, base.Add(time.Microsecond), base.Add(time.Hour), base}
	for i := range 3 {
		kc := tenant("app", i)
		for j, t := range times {
			name := fmt.Sprint("n", (j*5+i)%len(times))
			e.put(object(kc, name, at(base.Add(24*time.Hour))))
			all = append(all, e.put(object(kc, name, at(t)))) // its place is that of the last put
		}
	}
	byTime := storage.ObjectQuery{Order: storage.OrderByUpdated}
	for _, down := range []bool{false, true} {
		for _, limit := range listLimits(len(all)) {
			q := byTime
			q.Contexts, q.Descending, q.Limit = everything, down, limit
			e.wantObjects(q, all...)
		}
		for _, after := range append(times, base.Add(-1), base.Add(1), base.Add(999), base.Add(25*time.Hour)) {
			q := byTime
			q.Contexts, q.Descending, q.Limit, q.UpdatedAfter = storage.ContextFilter{All: true, Namespace: "app"}, down, 2, after
			newer := func(r storage.ObjectRecord) bool { return r.UpdatedAt.After(after) }
			e.wantObjects(q, filterObjects(all, newer)...)
			q.Contexts, q.NamePrefix = storage.ContextFilter{Hash: all[0].ContextHash}, "n1"
			e.wantObjects(q, filterObjects(all, func(r storage.ObjectRecord) bool {
				return newer(r) && r.Name == "n1" && r.ContextHash == all[0].ContextHash
			})...)
		}
	}
}

// directory puts objects into many contexts.
func (e *env) directory() (all []storage.ObjectRecord) {
	for _, ns := range []string{"", "app", "app2"} {
		for i := range 4 {
			for _, more := range [][]string{nil, {"user_id", "u1"}, {"user_id", "u2", "env", "prod"}} {
				kc := tenant(ns, i, more...)
				all = append(all, e.put(object(kc, "a")), e.put(object(kc, "b")))
			}
		}
	}
	return all
}

func checkListContexts(e *env) {
	all := e.directory()
	for _, f := range filters() {
		want := filterObjects(all, func(r storage.ObjectRecord) bool { return f.matches(r.Context, r.ContextHash) })
		for _, down := range []bool{false, true} {
			for _, order := range []storage.Order{storage.OrderByName, storage.OrderByUpdated} {
				for _, limit := range []int{0, 1, 3} {
					e.wantObjects(storage.ObjectQuery{Contexts: f.filter, Order: order, Descending: down, Limit: limit}, want...)
				}
			}
		}
		e.wantObjects(storage.ObjectQuery{Contexts: f.filter, NamePrefix: "b"}, filterObjects(want, func(r storage.ObjectRecord) bool { return r.Name == "b" })...)
	}
}

// checkListNamespaces keeps applications that share a database apart, also
// where their pairs look alike.
func checkListNamespaces(e *env) {
	spaces := []string{"", "a", "ab", "A", "a ", "ä", strings.Repeat("n", keyctx.MaxValueLen)}
	all := map[string][]storage.ObjectRecord{}
	for _, ns := range spaces {
		for i := range 3 {
			r := e.put(object(tenant(ns, i), "same", expires(base.Add(time.Hour))), storage.PutGuard{Now: base})
			all[ns] = append(all[ns], r)
		}
		e.insert(key(tenant(ns, 1), keyctx.PurposeData, 1))
	}
	for _, ns := range append(spaces, "b", "n") {
		f := storage.ContextFilter{All: true, Namespace: ns}
		e.wantObjects(storage.ObjectQuery{Contexts: f}, all[ns]...)
		e.wantObjects(storage.ObjectQuery{Contexts: f, Order: storage.OrderByUpdated, Limit: 1}, all[ns]...)
		f = storage.ContextFilter{Match: tenant("", 1), Namespace: ns}
		if n := len(e.objects(storage.ObjectQuery{Contexts: f})); n != min(1, len(all[ns])) {
			e.errorf("%d objects match in namespace %q", n, ns)
		}
		if n := len(e.keys(storage.KeyQuery{Contexts: f})); n != min(1, len(all[ns])) {
			e.errorf("%d keys match in namespace %q", n, ns)
		}
	}
	for _, ns := range spaces {
		swept, err := e.s.DeleteExpired(e.ctx, ns, base.Add(time.Hour), 0)
		if err != nil || len(swept) != 3 {
			e.errorf("swept %d in namespace %q, %v", len(swept), ns, err)
		}
		delete(all, ns)
		for other, want := range all {
			e.wantObjects(storage.ObjectQuery{Contexts: storage.ContextFilter{All: true, Namespace: other}, Now: base}, want...)
		}
	}
}

// checkListWhilePutting puts between the pages, in the goroutine that reads
// them: a store that held on to anything would block or skip.
func checkListWhilePutting(e *env) {
	var names []string
	kc := tenant("", 1)
	for i := range 40 {
		names = append(names, e.put(object(kc, fmt.Sprintf("n%02d", i*2))).Name)
	}
	for _, q := range []storage.ObjectQuery{
		{Contexts: storage.ContextFilter{All: true}, Limit: 3},
		{Contexts: storage.ContextFilter{Hash: hashOf(kc)}, Limit: 1, Descending: true},
		{Contexts: everything, Limit: 7, Order: storage.OrderByUpdated},
	} {
		seen := map[string]int{}
		for n := 0; ; n++ {
			page, err := e.s.ListObjects(e.ctx, q)
			e.ok(err)
			for _, r := range page.Objects {
				seen[r.Name]++
				if !slices.Contains(names, r.Name) {
					continue // put here, in the loop
				}
				// Beside it, over it (unless that would move it), and elsewhere.
				e.put(object(kc, r.Name+"x"))
				e.put(object(tenant("", 1+n%5), fmt.Sprint("other", n)))
				if q.Order == storage.OrderByName {
					e.put(object(kc, r.Name), storage.PutGuard{Keep: 2})
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
			if n > 2000 {
				e.fatalf("the list doesn't end")
			}
		}
		for _, name := range names {
			if seen[name] != 1 {
				e.errorf("%s was listed %d times", name, seen[name])
			}
		}
		for name, n := range seen {
			if n > 1 && q.Order == storage.OrderByName {
				e.errorf("%s was listed %d times", name, n)
			}
		}
		// The puts have moved nothing that was there before into another order.
		for _, r := range e.objects(storage.ObjectQuery{Contexts: everything}) {
			if strings.HasSuffix(r.Name, "x") || strings.HasPrefix(r.Name, "other") {
				_, err := e.s.DeleteObject(e.ctx, byName(r), storage.ID{})
				e.ok(err)
			}
		}
	}
}

func checkListVersions(e *env) {
	kc := tenant("", 1)
	var all []storage.ObjectRecord
	for range 23 {
		all = append(all, e.put(object(kc, "a")))
		e.put(object(kc, "b"))
	}
	id := all[0].ID
	for _, up := range []bool{false, true} {
		for _, limit := range listLimits(len(all)) {
			e.wantVersions(storage.VersionQuery{Object: id, Ascending: up, Limit: limit}, all...)
		}
		e.wantVersions(storage.VersionQuery{Object: id, Ascending: up, Limit: 5, WithEnvelope: true}, all...)

		// Versions that are added meanwhile: none that was there is lost or doubled.
		q := storage.VersionQuery{Object: id, Ascending: up, Limit: 2}
		seen := map[storage.ID]int{}
		for n := 0; n < 200; n++ {
			page, err := e.s.ListVersions(e.ctx, q)
			e.ok(err)
			for _, r := range page.Objects {
				seen[r.VersionID]++
			}
			if n < 20 {
				e.put(object(kc, "a"))
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		for _, r := range all {
			if seen[r.VersionID] != 1 {
				e.errorf("version %d was listed %d times", r.Number, seen[r.VersionID])
			}
		}
		all = e.versions(storage.VersionQuery{Object: id, WithEnvelope: true, Limit: 1000})
	}
}

// checkListEmptied wants contexts to come and go with what is in them.
func checkListEmptied(e *env) {
	match := storage.ContextFilter{Match: tenant("", 1), Namespace: "app"}
	for range 2 {
		a, b := e.put(object(tenant("app", 1), "a")), e.put(object(tenant("app", 1, "user_id", "u"), "b"))
		e.wantObjects(storage.ObjectQuery{Contexts: match}, a, b)
		for _, r := range []storage.ObjectRecord{a, b} {
			_, err := e.s.DeleteObject(e.ctx, byName(r), storage.ID{})
			e.ok(err)
		}
		for _, f := range []storage.ContextFilter{match, everything, {All: true, Namespace: "app"}, {Hash: a.ContextHash}} {
			e.wantObjects(storage.ObjectQuery{Contexts: f, IncludeExpired: true})
			e.wantObjects(storage.ObjectQuery{Contexts: f, Order: storage.OrderByUpdated, Descending: true})
		}
	}
}

func checkPageLimits(e *env) {
	kc := tenant("", 1)
	for i := range 1005 {
		e.put(object(kc, fmt.Sprintf("n%04d", i), sealedUnder(keyctx.KeyID{1})))
	}
	for limit, want := range map[int]int{-5: 100, 0: 100, 1: 1, 999: 999, 1000: 1000, 1001: 1000, 1 << 30: 1000} {
		page, err := e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: everything, Limit: limit})
		if err != nil || len(page.Objects) != want || page.Next == "" {
			e.errorf("limit %d gave %d objects, %v; want %d", limit, len(page.Objects), err, want)
		}
		page, err = e.s.ListByKey(e.ctx, storage.ByKeyQuery{KeyID: keyctx.KeyID{1}, Limit: limit})
		if err != nil || len(page.Objects) != want || page.Next == "" {
			e.errorf("limit %d gave %d versions of a key, %v; want %d", limit, len(page.Objects), err, want)
		}
	}
	if n := len(e.objects(storage.ObjectQuery{Contexts: everything, Limit: 1000})); n != 1005 {
		e.errorf("got %d objects in pages of 1000, want 1005", n)
	}
}
