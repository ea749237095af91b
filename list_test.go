package vault_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

func TestListIsOfOneContextUnlessWithin(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		for name, kc := range map[string]vault.KeyContext{
			"of A": orgA, "of A's user": userA, "of B": orgB,
			"of another user": {"organization_id": "org_01", "user_id": "u_2"},
			"of A by prefix":  {"organization_id": "org_011"},
			"of no org":       {"user_id": "u_1"},
		} {
			must(v.Put(ctx, kc, name, nil))(t)
		}
		for _, q := range []struct {
			kc     vault.KeyContext
			within bool
			want   []string
		}{
			{orgA, false, []string{"of A"}},
			{orgA, true, []string{"of A", "of A's user", "of another user"}},
			{userA, true, []string{"of A's user"}},
			{vault.KeyContext{"user_id": "u_1"}, true, []string{"of A's user", "of no org"}},
			{vault.KeyContext{"organization_id": "org_0"}, true, []string{}},
			{vault.KeyContext{"organization_id": "none"}, false, []string{}},
		} {
			got := names(t, v.List(ctx, q.kc, vault.ListOptions{Within: q.within}))
			slices.Sort(got)
			if !slices.Equal(got, q.want) {
				t.Errorf("%v, within %v: %q", q.kc, q.within, got)
			}
		}
		for m, err := range v.List(ctx, orgA, vault.ListOptions{Within: true}) {
			if err != nil || m.Name == "of A's user" && !maps.Equal(m.Context, userA) {
				t.Errorf("%+v, %v", m, err)
			}
		}
	})
}

// Every order and prefix, with pages of every size, forwards and backwards.
func TestListOrdersAndPages(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		all := []string{"b", "a", "a/1", "a/2", "a/10", "A", "ä", "z", "a0", "\U0001F600", "\uffff"}
		for _, name := range all {
			must(v.Put(ctx, orgA, name, nil))(t)
			time.Sleep(20 * time.Microsecond) // another microsecond
		}
		must(v.Put(ctx, orgA, "b", nil))(t) // updated last
		byName := slices.Sorted(slices.Values(all))
		byUpdated := append(slices.Clone(all[1:]), "b")
		for _, prefix := range []string{"", "a", "a/", "a/1", "b", "ä", "none", "\U0001F600"} {
			for _, o := range []vault.ListOptions{
				{Order: vault.ByName}, {Order: vault.ByName, Descending: true},
				{Order: vault.ByUpdated}, {Order: vault.ByUpdated, Descending: true},
			} {
				want := []string{}
				for _, name := range map[vault.Order][]string{vault.ByName: byName, vault.ByUpdated: byUpdated}[o.Order] {
					if strings.HasPrefix(name, prefix) {
						want = append(want, name)
					}
				}
				if o.Descending {
					slices.Reverse(want)
				}
				o.Prefix = prefix
				for _, limit := range []int{0, 1, 2, 3, 5, 11, 12, 100000} {
					o.Limit = limit
					if got := names(t, v.List(ctx, orgA, o)); !slices.Equal(got, want) {
						t.Fatalf("%+v: %q, want %q", o, got, want)
					}
					wantPages(t, v, o, want)
				}
			}
		}
	})
}

// wantPages reads a list page by page.
func wantPages(t *testing.T, v *vault.Vault, o vault.ListOptions, want []string) {
	t.Helper()
	got := []string{}
	for {
		page := must(v.ListPage(t.Context(), orgA, o))(t)
		if o.Limit > 0 && o.Limit <= 1000 && (len(page.Objects) > o.Limit || page.Next != "" && len(page.Objects) != o.Limit) {
			t.Fatalf("%+v: a page of %d", o, len(page.Objects))
		}
		for _, m := range page.Objects {
			got = append(got, m.Name)
		}
		if o.Cursor = page.Next; page.Next == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v: the pages hold %q, want %q", o, got, want)
	}
}

func TestListPageSizes(t *testing.T) {
	v := vaulttest.New(t)
	for i := range 1001 {
		must(v.Put(t.Context(), orgA, fmt.Sprintf("%04d", i), nil))(t)
	}
	for limit, want := range map[int]int{0: 100, 1: 1, 999: 999, 1000: 1000, 1001: 1000, 1 << 30: 1000} {
		if page := must(v.ListPage(t.Context(), orgA, vault.ListOptions{Limit: limit}))(t); len(page.Objects) != want || page.Next == "" {
			t.Errorf("limit %d: %d objects", limit, len(page.Objects))
		}
	}
	if n := len(names(t, v.List(t.Context(), orgA, vault.ListOptions{}))); n != 1001 {
		t.Errorf("%d of 1001", n)
	}
	// From the middle on.
	page := must(v.ListPage(t.Context(), orgA, vault.ListOptions{Limit: 600}))(t)
	rest := names(t, v.List(t.Context(), orgA, vault.ListOptions{Cursor: page.Next}))
	if len(rest) != 401 || rest[0] != "0600" {
		t.Errorf("%d from %q", len(rest), rest[0])
	}
}

func TestListUpdatedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		ctx := t.Context()
		var times []time.Time
		for i := range 5 {
			times = append(times, must(v.Put(ctx, orgA, fmt.Sprint(i), nil))(t).UpdatedAt)
			time.Sleep(time.Microsecond)
		}
		for i, at := range times {
			for after, want := range map[time.Time]int{
				at: 4 - i, at.Add(-time.Microsecond): 5 - i, at.Add(time.Nanosecond): 4 - i,
				at.In(time.FixedZone("x", 3600)): 4 - i,
			} {
				got := names(t, v.List(ctx, orgA, vault.ListOptions{Order: vault.ByUpdated, UpdatedAfter: after, Limit: 2}))
				if len(got) != want {
					t.Errorf("after %v: %q", after, got)
				}
			}
		}
	})
}

// Nothing is locked while the loop's body runs: it may put and delete what it
// is shown and more, and what was there is shown exactly once.
func TestPutAndDeleteInsideTheLoop(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		for i := range 25 {
			must(v.Put(ctx, orgA, fmt.Sprintf("n%02d", i), nil))(t)
		}
		seen := map[string]int{}
		for m, err := range v.List(ctx, orgA, vault.ListOptions{Limit: 3}) {
			if err != nil {
				t.Fatal(err)
			}
			seen[m.Name]++
			must(v.Put(ctx, orgA, m.Name, []byte("again")))(t)
			must(v.Put(ctx, orgA, "a"+m.Name, nil))(t) // before what is still to come
			if err := v.Delete(ctx, orgA, "a"+m.Name); err != nil {
				t.Fatal(err)
			}
			if err := v.Delete(ctx, orgA, m.Name, vault.IfVersion(must(v.Get(ctx, orgA, m.Name))(t).VersionID)); err != nil {
				t.Fatal(err)
			}
			for range v.List(ctx, orgA, vault.ListOptions{}) {
				break // leaving a loop inside a loop holds nothing either
			}
		}
		for i := range 25 {
			if n := seen[fmt.Sprintf("n%02d", i)]; n != 1 {
				t.Errorf("n%02d was shown %d times", i, n)
			}
		}
		if left := names(t, v.List(ctx, orgA, vault.ListOptions{})); len(left) != 0 {
			t.Errorf("%q is left", left)
		}
	})
}

// A list that fails on a later page ends with its error.
func TestListFailsOnALaterPage(t *testing.T) {
	v := vaulttest.New(t)
	for i := range 10 {
		must(v.Put(t.Context(), orgA, fmt.Sprint(i), nil))(t)
	}
	n, last := 0, error(nil)
	for _, err := range v.List(t.Context(), orgA, vault.ListOptions{Limit: 4}) {
		if last != nil {
			t.Fatal("it goes on after an error")
		}
		if last = err; err == nil {
			n++
		}
		if n == 4 {
			v.Store.SetFault(func(string) error { return vault.ErrStoreUnavailable })
		}
	}
	if n != 4 {
		t.Fatalf("%d objects before the error", n)
	}
	wantClass(t, last, "ErrStoreUnavailable")
}
