package vault_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

type openRow struct {
	ID    int
	Email vault.Encrypted[string]
	Phone vault.Encrypted[string]
}

// storedRows are rows of many tenants, read and bound as an adapter does.
func storedRows(t testing.TB, v *vaulttest.Vault, n, tenants int) []openRow {
	t.Helper()
	ctx := t.Context()
	rows := make([]openRow, n)
	for i := range rows {
		kc := vault.KeyContext{"organization_id": fmt.Sprint("org_", i%tenants)}
		for j, f := range []*vault.Encrypted[string]{&rows[i].Email, &rows[i].Phone} {
			at := vault.At("users", fmt.Sprint("c", j), i+1)
			ok(t, f.Scan(must(v.SealField(ctx, kc, at, fmt.Sprintf("%d/%d", i, j)))(t)))
			f.BindField(ctx, vault.FieldBinding{Vault: v.Vault, Context: kc, Location: at})
		}
	}
	return rows
}

// reread gives rows to another process's vault.
func reread(t testing.TB, v *vaulttest.Vault, rows []openRow, tenants int) []openRow {
	t.Helper()
	out := make([]openRow, len(rows))
	for i := range rows {
		kc := vault.KeyContext{"organization_id": fmt.Sprint("org_", i%tenants)}
		for j, f := range [][2]*vault.Encrypted[string]{{&rows[i].Email, &out[i].Email}, {&rows[i].Phone, &out[i].Phone}} {
			ok(t, f[1].Scan(must(f[0].Value())(t)))
			f[1].BindField(t.Context(), vault.FieldBinding{Vault: v.Vault, Context: kc, Location: vault.At("users", fmt.Sprint("c", j), i+1)})
		}
	}
	return out
}

// 1,000 rows of 10 tenants are 10 loads of keys, also where the cache holds one key.
func TestOpenAllLoadsEachKeyOnce(t *testing.T) {
	v := vaulttest.New(t)
	rows := storedRows(t, v, 1000, 10)
	for _, size := range []int{0, 1} {
		cold := peerOf(t, v, func(c *vault.Config) { c.Cache.Size = size })
		mine := reread(t, cold, rows, 10)
		calls := v.Store.Calls("GetKey")
		ok(t, vault.OpenAll(t.Context(), mine))
		if n := cold.KEK.Unwraps(); n != 10 && size == 0 || n > 10 {
			t.Errorf("cache of %d: %d unwraps, want 10", size, n)
		}
		if n := v.Store.Calls("GetKey") - calls; n > 10 {
			t.Errorf("cache of %d: %d reads of keys, want 10", size, n)
		}
		before := cold.Decryptions()
		if before != 2000 {
			t.Errorf("%d decryptions", before)
		}
		cold.KEK.SetFault(1)
		for i, r := range mine {
			if must(r.Email.Open(t.Context()))(t) != fmt.Sprint(i, "/0") || must(r.Phone.Open(t.Context()))(t) != fmt.Sprint(i, "/1") {
				t.Fatal(i)
			}
			if !r.Email.Equal(rows[i].Email) {
				t.Fatal("the sealed bytes changed")
			}
		}
		if cold.Decryptions() != before {
			t.Error("an opened field was opened again")
		}
	}
}

// One bad row is one error, with its place; the others are opened.
func TestOpenAllReportsEachRow(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	rows := storedRows(t, v, 5, 2)
	rows[1].Email, rows[3].Phone = rows[3].Email, vault.SealedBytes[string]([]byte("nonsense")).At("users", "c1", 4)
	rows[1].Email = rows[1].Email.At("users", "c0", 2) // moved in the database
	rows[2].Email = vault.Null[string]()
	rows[4].Email = vault.Seal("pending")
	err := vault.OpenAll(vault.WithVault(ctx, v.Vault), rows)
	if !errors.Is(err, vault.ErrWrongLocation) || !errors.Is(err, vault.ErrNoContext) || !strings.Contains(err.Error(), "[1].Email") || !strings.Contains(err.Error(), "[3].Phone") || strings.Contains(err.Error(), "[0]") {
		t.Fatal(err)
	}
	n := v.Decryptions()
	for _, f := range []vault.Encrypted[string]{rows[0].Email, rows[0].Phone, rows[1].Phone, rows[2].Phone, rows[3].Email, rows[4].Email, rows[4].Phone} {
		must(f.Open(ctx))(t)
	}
	if v.Decryptions() != n {
		t.Error("not all were opened")
	}
	if !rows[2].Email.IsZero() || rows[4].Email.FieldState() != vault.FieldPending {
		t.Error("NULL or pending was changed")
	}
}

// Fields are found wherever an exported field leads, and nothing else is followed.
func TestOpenAllWalks(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	type node struct {
		openRow
		Next    *node
		Friends []*node
		Any     any
		Array   [1]openRow
		hidden  *openRow
		Func    func()
		Bytes   []byte
	}
	r := storedRows(t, v, 7, 1)
	n := &node{openRow: r[0], Friends: []*node{{openRow: r[1]}, nil}, Any: &r[2], Array: [1]openRow{r[3]}, hidden: &r[4]}
	n.Next = n // a circle
	var e vault.Encrypted[string] = r[5].Email
	ok(t, vault.OpenAll(ctx, n, &e, []*openRow{&r[6]}, []openRow{}, []openRow(nil)))
	ok(t, v.Close()) // what isn't open now fails
	for name, f := range map[string]vault.Encrypted[string]{"row": n.Email, "friend": n.Friends[0].Phone, "any": n.Any.(*openRow).Email, "array": n.Array[0].Email, "field": e, "slice": r[6].Email} {
		if _, err := f.Open(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.hidden.Email.Open(ctx); !errors.Is(err, vault.ErrClosed) {
		t.Error("an unexported field was opened")
	}
	for _, bad := range []any{nil, r[0], 1, (*openRow)(nil), "x", map[string]openRow{}} {
		wantClass(t, vault.OpenAll(ctx, bad), "ErrInvalidOption")
	}
	ok(t, vault.OpenAll(ctx))
}

// One field is read by many, and copied, while another copy is opened in place.
func TestFieldsAreSharedSafely(t *testing.T) {
	v := vaulttest.New(t)
	r := storedRows(t, v, 1, 1)[0]
	p := vault.Seal("p").At("t", "c", 1)
	ctx := vault.WithVault(vault.WithKeyContext(t.Context(), vault.KeyContext{"organization_id": "org_0"}), v.Vault)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				mine := r
				must(mine.Email.Open(ctx))(t)
				ok(t, vault.OpenAll(ctx, &mine))
				must(p.SealField(ctx, vault.FieldBinding{}))(t)
				_ = mine.Email.At("t", "c", 1)
				_ = fmt.Sprint(mine, p)
				must(v.BlindIndexQuery(ctx, vault.KeyContext{"organization_id": "org_0"}, emailIndex, "a@b.c")) // whatever it says
			}
		})
	}
	wg.Wait()
}

func BenchmarkOpenAll(b *testing.B) {
	v := vaulttest.New(b, func(c *vault.Config) { c.EventMessages = false })
	rows := storedRows(b, v, 1000, 10)
	mine := make([]openRow, len(rows))
	b.ReportAllocs()
	for b.Loop() {
		copy(mine, rows)
		ok(b, vault.OpenAll(b.Context(), mine))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/field")
}
