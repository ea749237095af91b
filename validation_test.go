package vault_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

func manyPairs(n int) vault.KeyContext {
	kc := vault.KeyContext{}
	for i := range n {
		kc[fmt.Sprintf("k%d", i)] = "v"
	}
	return kc
}

func invalidContexts() map[string]vault.KeyContext {
	bad := map[string]vault.KeyContext{
		"nil":             nil,
		"empty":           {},
		"eleven pairs":    manyPairs(11),
		"empty key":       {"": "v"},
		"empty value":     {"k": ""},
		"long key":        {strings.Repeat("k", 129): "v"},
		"long value":      {"k": strings.Repeat("v", 1025)},
		"huge value":      {"k": strings.Repeat("v", 1<<16)},
		"bad key":         {"k k": "v"},
		"non-ASCII key":   {"clé": "v"},
		"NUL in the key":  {"k\x00": "v"},
		"not UTF-8":       {"k": "\xff\xfe"},
		"half a rune":     {"k": "\xe1\x80"},
		"a surrogate":     {"k": "\xed\xa0\x80"},
		"NUL":             {"k": "a\x00b"},
		"line break":      {"k": "a\nb"},
		"DEL":             {"k": "a\x7f"},
		"C1":              {"k": "a\u0085b"},
		"one bad of many": {"a": "1", "b": "2", "c": "\x01"},
	}
	for _, k := range []string{"vault:namespace", "vault:scope", "vault:index", "vault:system", "vault:", "vault:other"} {
		bad[k] = vault.KeyContext{"organization_id": "org_01", k: "global"}
	}
	return bad
}

// Every method that takes a key context refuses an invalid one, asks nobody, and
// changes nothing.
func TestInvalidContextIsRefusedEverywhere(t *testing.T) {
	v := vaulttest.New(t)
	for name, kc := range invalidContexts() {
		kept := maps.Clone(kc)
		for method, call := range callsWith(t, v.Vault, kc) {
			if err := call(); fmt.Sprint(classes(err)) != "[ErrInvalidContext]" {
				t.Errorf("%s with %s: %v", method, name, err)
			}
		}
		for method, call := range scopeCalls(t, v.Vault, v.Vault.Scope(kc)) {
			if err := call(); fmt.Sprint(classes(err)) != "[ErrInvalidContext]" {
				t.Errorf("Scope.%s with %s: %v", method, name, err)
			}
		}
		if !maps.Equal(kc, kept) {
			t.Errorf("%s: the caller's map was changed", name)
		}
	}
	if v.KEK.Calls() != 0 || v.Store.Calls("") != 0 {
		t.Fatal("something was asked")
	}
}

func TestValidContexts(t *testing.T) {
	v := vaulttest.New(t)
	for name, kc := range map[string]vault.KeyContext{
		"ten pairs":   manyPairs(10),
		"longest":     {strings.Repeat("k", 128): strings.Repeat("v", 1024)},
		"every byte":  {"AZaz09_.:/-": "v"},
		"any text":    {"k": "  ü — 日本語 \U0001F600 \ufeff \u2028 "},
		"Vault:":      {"Vault:namespace": "x"},
		"not a slash": {"vault": "x"},
	} {
		sealed, err := v.Encrypt(t.Context(), kc, []byte("x"), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := peerOf(t, v).Decrypt(t.Context(), kc, sealed, nil); err != nil || string(got) != "x" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The caller may change its map as soon as a call, or the making of a scope or a
// list, has returned.
func TestCallersMapIsItsOwn(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	kc := maps.Clone(orgA)
	scope := v.Scope(kc)
	fresh := vault.KeyContext{"organization_id": "fresh"}
	unused := v.Scope(fresh) // its key isn't made yet
	fresh["organization_id"] = "changed"
	if unused.KeyContext()["organization_id"] != "fresh" {
		t.Fatal("the scope follows the caller's map")
	}
	must(unused.Encrypt(ctx, nil, nil))(t)
	must(v.Put(ctx, orgA, "a", nil))(t)
	must(v.Put(ctx, orgB, "b", nil))(t)
	list := v.List(ctx, kc, vault.ListOptions{Within: true})
	versions := v.Versions(ctx, kc, "a")
	kc["organization_id"] = "org_02"
	if got := names(t, list); fmt.Sprint(got) != "[a]" {
		t.Fatalf("the list follows the caller's map: %v", got)
	}
	if got := names(t, versions); fmt.Sprint(got) != "[a]" {
		t.Fatalf("the list of versions follows the caller's map: %v", got)
	}
	sealed := must(scope.Encrypt(ctx, []byte("x"), nil))(t)
	must(v.Decrypt(ctx, orgA, sealed, nil))(t)
	scope.KeyContext()["organization_id"] = "org_02"
	must(scope.Decrypt(ctx, sealed, nil))(t)
	obj := must(v.Get(ctx, orgA, "a"))(t)
	obj.Context["organization_id"] = "org_02"
	if again := must(v.Get(ctx, orgA, "a"))(t); again.Context["organization_id"] != "org_01" {
		t.Fatal("what was returned is shared")
	}
}

func TestInvalidObjectNames(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	must(v.Put(ctx, orgA, "good", []byte("x")))(t)
	for why, name := range map[string]string{
		"empty": "", "too long": strings.Repeat("n", 513), "huge": strings.Repeat("n", 1<<20),
		"not UTF-8": "a\xff", "cut rune": "a\xe2\x82", "NUL": "a\x00", "line break": "a\nb", "tab": "a\tb",
		"DEL": "a\x7f", "C1": "a\u0080", "C1 NEL": "\u0085", "bell": "\a",
	} {
		calls := map[string]func() error{
			"Put":      func() error { _, err := v.Put(ctx, orgA, name, nil); return err },
			"Get":      func() error { _, err := v.Get(ctx, orgA, name); return err },
			"GetMany":  func() error { _, err := v.GetMany(ctx, orgA, "good", name); return err },
			"Describe": func() error { _, err := v.Describe(ctx, orgA, name); return err },
			"Delete":   func() error { return v.Delete(ctx, orgA, name) },
			"Versions": func() error { return firstErr(v.Versions(ctx, orgA, name)) },
		}
		for method, call := range calls {
			if err := call(); fmt.Sprint(classes(err)) != "[ErrInvalidName]" {
				t.Errorf("%s of a name that is %s: %v", method, why, err)
			}
		}
	}
	for _, name := range []string{"x", strings.Repeat("n", 512), strings.Repeat("ü", 256), "../../etc/passwd", " ", "a b", "日本", "\u2028", "%s%n", "vlt1."} {
		if _, err := v.Put(ctx, orgA, name, []byte(name)); err != nil {
			t.Errorf("Put %q: %v", name, err)
		}
		if obj, err := v.Get(ctx, orgA, name); err != nil || string(obj.Value) != name || obj.Name != name {
			t.Errorf("Get %q: %v", name, err)
		}
	}
}

func TestInvalidOptions(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	meta := must(v.Put(ctx, orgA, "x", []byte("1")))(t)
	long := map[string]string{}
	for i := range 65 {
		long[fmt.Sprint(i)] = ""
	}
	put := func(opts ...vault.PutOption) func() error {
		return func() error { _, err := v.Put(ctx, orgA, "x", []byte("2"), opts...); return err }
	}
	list := func(o vault.ListOptions) func() error {
		return func() error {
			_, err := v.ListPage(ctx, orgA, o)
			if again := firstErr(v.List(ctx, orgA, o)); fmt.Sprint(classes(again)) != fmt.Sprint(classes(err)) {
				return fmt.Errorf("List says %v, ListPage %v", again, err)
			}
			return err
		}
	}
	for name, call := range map[string]func() error{
		"IfVersion zero":          put(vault.IfVersion(vault.ID{})),
		"IfVersion zero, first":   put(vault.IfVersion(vault.ID{}), vault.IfVersion(meta.VersionID)),
		"IfVersion and IfAbsent":  put(vault.IfVersion(meta.VersionID), vault.IfAbsent()),
		"ExpiresAt zero time":     put(vault.ExpiresAt(time.Time{})),
		"ExpiresAt 1970":          put(vault.ExpiresAt(time.Unix(0, 0))),
		"ExpiresAt before 1970":   put(vault.ExpiresAt(time.Unix(-1, 0))),
		"ExpiresAt year 10000":    put(vault.ExpiresAt(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))),
		"ExpiresAt overflows":     put(vault.ExpiresAt(time.Unix(1<<45, 0))),
		"ExpiresAt end of time":   put(vault.ExpiresAt(time.Unix(1<<62, 0))),
		"labels: too many":        put(vault.Labels(long)),
		"labels: empty key":       put(vault.Labels(map[string]string{"": "v"})),
		"labels: long key":        put(vault.Labels(map[string]string{strings.Repeat("k", 129): "v"})),
		"labels: long value":      put(vault.Labels(map[string]string{"k": strings.Repeat("v", 1025)})),
		"labels: control in key":  put(vault.Labels(map[string]string{"k\n": "v"})),
		"labels: control":         put(vault.Labels(map[string]string{"k": "v\x1b[31m"})),
		"labels: not UTF-8":       put(vault.Labels(map[string]string{"k": "\xff"})),
		"Get AtVersion zero":      func() error { _, err := v.Get(ctx, orgA, "x", vault.AtVersion(vault.ID{})); return err },
		"GetByID AtVersion zero":  func() error { _, err := v.GetByID(ctx, orgA, meta.ID, vault.AtVersion(vault.ID{})); return err },
		"Describe AtVersion zero": func() error { _, err := v.Describe(ctx, orgA, "x", vault.AtVersion(vault.ID{})); return err },
		"Delete IfVersion zero":   func() error { return v.Delete(ctx, orgA, "x", vault.IfVersion(vault.ID{})) },
		"list: unknown order":     list(vault.ListOptions{Order: 2}),
		"list: UpdatedAfter":      list(vault.ListOptions{UpdatedAfter: time.Now()}),
		"list: negative limit":    list(vault.ListOptions{Limit: -1}),
		"list: long prefix":       list(vault.ListOptions{Prefix: strings.Repeat("n", 513)}),
	} {
		if err := call(); fmt.Sprint(classes(err)) != "[ErrInvalidOption]" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := must(v.Get(ctx, orgA, "x"))(t); got.VersionID != meta.VersionID {
		t.Fatal("a refused call changed something")
	}
	// A nil option is none.
	must(v.Put(ctx, orgA, "x", []byte("2"), nil, vault.Labels(nil)))(t)
	must(v.Get(ctx, orgA, "x", nil))(t)
	if err := v.Delete(ctx, orgA, "x", nil); err != nil {
		t.Fatal(err)
	}
}

func TestInvalidCursor(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	for i := range 5 {
		must(v.Put(ctx, orgA, fmt.Sprintf("n%d", i), nil))(t)
		must(v.Put(ctx, orgB, fmt.Sprintf("n%d", i), nil))(t)
	}
	page := must(v.ListPage(ctx, orgA, vault.ListOptions{Limit: 2}))(t)
	if len(page.Objects) != 2 || page.Next == "" {
		t.Fatalf("%d objects, next %q", len(page.Objects), page.Next)
	}
	for name, o := range map[string]vault.ListOptions{
		"another order":  {Cursor: page.Next, Order: vault.ByUpdated},
		"descending":     {Cursor: page.Next, Descending: true},
		"another prefix": {Cursor: page.Next, Prefix: "n"},
		"within":         {Cursor: page.Next, Within: true},
		"cut":            {Cursor: page.Next[:len(page.Next)-1]},
		"longer":         {Cursor: page.Next + "A"},
		"nonsense":       {Cursor: "nonsense"},
		"huge":           {Cursor: strings.Repeat("A", 1<<16)},
		"line break":     {Cursor: page.Next + "\n"},
	} {
		if _, err := v.ListPage(ctx, orgA, o); fmt.Sprint(classes(err)) != "[ErrInvalidCursor]" {
			t.Errorf("%s: %v", name, err)
		}
		if err := firstErr(v.List(ctx, orgA, o)); fmt.Sprint(classes(err)) != "[ErrInvalidCursor]" {
			t.Errorf("List, %s: %v", name, err)
		}
	}
	if _, err := v.ListPage(ctx, orgB, vault.ListOptions{Cursor: page.Next}); fmt.Sprint(classes(err)) != "[ErrInvalidCursor]" {
		t.Errorf("another context's cursor: %v", err)
	}
	rest := must(v.ListPage(ctx, orgA, vault.ListOptions{Cursor: page.Next, Limit: 100}))(t) // another limit is fine
	if len(rest.Objects) != 3 || rest.Next != "" {
		t.Fatalf("%d objects, next %q", len(rest.Objects), rest.Next)
	}
}

func TestParseID(t *testing.T) {
	id := storage.NewID(time.Now())
	got, err := vault.ParseID(id.String())
	if err != nil || got != id {
		t.Fatal(got, err)
	}
	for _, bad := range []string{"", "x", strings.ToUpper(id.String()), id.String() + " ", "{" + id.String() + "}", strings.ReplaceAll(id.String(), "-", "")} {
		if bad != id.String() {
			if _, err := vault.ParseID(bad); err == nil {
				t.Errorf("%q parses", bad)
			}
		}
	}
}
