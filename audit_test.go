package vault_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/audit"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

func openAudit(t *testing.T, opts audit.Options) (*audit.Log, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := audit.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

func records(t *testing.T, path string, f audit.Filter) []audit.Record {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []audit.Record
	for r, err := range audit.Read([]audit.Source{{Name: path, Reader: bytes.NewReader(b)}}, f) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// With the log, the vault's verification key and the head in its store an auditor can
// tell who read a customer's secret, when, why, under which key, and whether anyone has
// touched the log.
func TestAuditor(t *testing.T) {
	l, path := openAudit(t, audit.Options{})
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed, c.Namespace = l.OnEvent, true, "billing" })
	if err := l.Start(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	ctx := vault.WithReason(vault.WithActor(t.Context(), "ann"), "ticket 7")
	meta := must(v.Put(ctx, orgA, "stripe/api-key", []byte("sk_live")))(t)
	must(v.Put(ctx, orgB, "stripe/api-key", []byte("sk_live")))(t)
	must(v.Get(vault.WithActor(t.Context(), "bob"), orgA, "stripe/api-key"))(t)
	_, err := v.Decrypt(vault.WithActor(t.Context(), "eve"), orgA, bytes.Repeat([]byte{0xe1}, 200), nil)
	wantErr(t, err, vault.ErrMalformed)
	keys := must(v.AuditKeys(t.Context()))(t)
	if err := errors.Join(v.Close(), l.Close()); err != nil { // in this order: the head is kept all the same
		t.Fatal(err)
	}

	var text []byte
	for _, k := range keys {
		text = append(text, k.ExportVerificationKey()...)
	}
	auditor := must(vault.ParseAuditKeys(text))(t)
	head := must(v.AuditHead(t.Context(), l.ID()))(t)
	r := must(audit.VerifyFiles(t.Context(), []string{path}, audit.VerifyOptions{Keys: auditor, Head: &head}))(t)
	if !r.OK() || !r.HeadCompared || !r.Closed || r.After != 0 || !r.Authenticated {
		t.Errorf("%+v", r)
	}
	hash := must(keyctx.HashIn(orgA, "billing"))(t)
	var told []string
	for _, rec := range records(t, path, audit.Filter{ContextHash: hash, Object: "stripe/api-key"}) {
		told = append(told, fmt.Sprint(rec.Event, " ", rec.Actor, " ", rec.Reason))
		if rec.KeyID != meta.KeyID || rec.Time.IsZero() || rec.ObjectID != meta.ID || rec.VersionID != meta.VersionID {
			t.Errorf("%+v", rec)
		}
	}
	if want := []string{"data.created ann ticket 7", "data.read bob "}; !slices.Equal(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
	failed := records(t, path, audit.Filter{Failed: true})
	if len(failed) != 1 || failed[0].Actor != "eve" || failed[0].Event != vault.MessageDecrypted || failed[0].ErrorClass != "malformed" {
		t.Errorf("failed: %+v", failed)
	}
}

// The key of the audit log is the vault's own, made once, of purpose 4, and derived as
// specified; it is the same in another process, after a rewrap, and in no other
// namespace.
func TestAuditKey(t *testing.T) {
	v := vaulttest.New(t)
	_, err := v.AuditKeys(t.Context())
	wantErr(t, err, vault.ErrKeyNotFound)
	k := must(v.AuditKey(t.Context()))(t)
	must(v.Rewrap(t.Context(), vault.RewrapOptions{All: true, Force: true}))(t)
	peer := peerOf(t, v)
	for _, again := range []*vault.AuditKey{must(peer.AuditKey(t.Context()))(t), must(peer.AuditKeys(t.Context()))(t)[0]} {
		if again.ID() != k.ID() || again.MAC([]byte("m")) != k.MAC([]byte("m")) {
			t.Error("another key")
		}
	}
	other := must(peerOf(t, v, func(c *vault.Config) { c.Namespace = "ns" }).AuditKey(t.Context()))(t)
	if other.ID() == k.ID() {
		t.Error("another namespace has the same key")
	}
	page := must(v.Store.ListKeys(t.Context(), storage.KeyQuery{Contexts: storage.ContextFilter{All: true}}))(t)
	if len(page.Keys) != 1 || page.Keys[0].Purpose != keyctx.PurposeAuthentication || page.Keys[0].Context[keyctx.ReservedSystem] != "audit" {
		t.Errorf("%+v", page.Keys)
	}
	none, err := vault.New(vault.Config{KEK: memkek.New("k"), NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	_, err = none.AuditKey(t.Context())
	wantErr(t, err, vault.ErrNoStore)
	_, err = none.AuditKeys(t.Context())
	wantErr(t, err, vault.ErrNoStore)
	_, err = none.AuditHead(t.Context(), vault.ID{1})
	wantErr(t, err, vault.ErrNoStore)
	_, err = none.AuditHeads(t.Context())
	wantErr(t, err, vault.ErrNoStore)
	wantErr(t, none.KeepAuditHead(t.Context(), vault.AuditHead{Log: vault.ID{1}, Seq: 1}), vault.ErrNoStore)
	peer = peerOf(t, v)
	peer.KEK.SetFault(memkek.Denied)
	_, err = peer.AuditKey(t.Context())
	wantErr(t, err, vault.ErrKEKDenied)
}

// The audit log's key isn't rotated by age: old logs would be harder to check for nothing.
func TestAuditKeyDoesNotAge(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.RotateAfter = time.Nanosecond })
	k := must(v.AuditKey(t.Context()))(t)
	for range 3 {
		if again := must(peerOf(t, v, func(c *vault.Config) { c.RotateAfter = time.Nanosecond }).AuditKey(t.Context()))(t); again.ID() != k.ID() {
			t.Fatal("it was rotated")
		}
	}
}

func TestAuditKeyPrintsNothing(t *testing.T) {
	n := newNet(t)
	v := vaulttest.New(t)
	k := must(v.AuditKey(t.Context()))(t)
	exported := string(k.ExportVerificationKey())
	secret, err := hex.DecodeString(strings.TrimSpace(exported[strings.LastIndex(exported, ":")+1:]))
	if err != nil || len(secret) != 32 {
		t.Fatalf("%q, %v", exported, err)
	}
	n.catch(string(secret))
	for _, x := range []any{k, []*vault.AuditKey{k}, struct{ k *vault.AuditKey }{k}, map[string]*vault.AuditKey{"k": k}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			n.check(verb, fmt.Sprintf(verb, x))
		}
	}
	for _, bad := range []string{"", "\n", "x", exported[:len(exported)-3], strings.ToUpper(exported), exported + "x\n", strings.Replace(exported, "-1:", "-2:", 1), strings.Replace(exported, exported[len(exported)-3:], "zz\n", 1)} {
		_, err := vault.ParseAuditKeys([]byte(bad))
		if err == nil {
			t.Errorf("%q is a key", bad)
		}
		n.checkErr("ParseAuditKeys", err)
	}
	twice := must(vault.ParseAuditKeys([]byte(exported + "\r\n" + exported)))(t)
	if len(twice) != 2 || twice[1].MAC(nil) != k.MAC(nil) || twice[1].ID() != k.ID() {
		t.Error("another key comes back")
	}
}

// Heads never go back, are listed, and are each vault's own; damaged ones are refused.
func TestAuditHeads(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	at := time.Date(2026, 11, 25, 1, 2, 3, 4000, time.UTC)
	a, b := vault.AuditHead{Log: vault.ID{1}, Seq: 5, Hash: [32]byte{5}, Time: at}, vault.AuditHead{Log: vault.ID{2}, Seq: 1, Hash: [32]byte{1}, Time: at}
	for _, h := range []vault.AuditHead{a, a, b} {
		if err := v.KeepAuditHead(ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	forked, older, newer := a, a, a
	forked.Hash, older.Seq, newer.Seq = [32]byte{6}, 4, 6
	for _, h := range []vault.AuditHead{forked, older} {
		wantErr(t, v.KeepAuditHead(ctx, h), vault.ErrVersionConflict)
	}
	wantErr(t, v.KeepAuditHead(ctx, vault.AuditHead{Seq: 1}), vault.ErrInvalidOption)
	wantErr(t, v.KeepAuditHead(ctx, vault.AuditHead{Log: vault.ID{1}}), vault.ErrInvalidOption)
	if err := v.KeepAuditHead(ctx, newer); err != nil {
		t.Fatal(err)
	}
	if got := must(v.AuditHead(ctx, a.Log))(t); got != newer {
		t.Errorf("%+v", got)
	}
	if got := must(v.AuditHeads(ctx))(t); !slices.Equal(got, []vault.AuditHead{newer, b}) {
		t.Errorf("%+v", got)
	}
	_, err := peerOf(t, v, func(c *vault.Config) { c.Namespace = "ns" }).AuditHead(ctx, a.Log)
	wantErr(t, err, vault.ErrNotFound)

	recs := must(v.Store.ListSystem(ctx, "audit/", "", 10))(t)
	for _, value := range []string{"x", "{}", strings.Replace(string(recs[0].Value), "05", "5", 1), string(recs[1].Value), strings.Replace(string(recs[0].Value), `"seq"`, `"x":1,"seq"`, 1)} {
		rec := must(v.Store.GetSystem(ctx, recs[0].Name))(t)
		rec.Value = []byte(value)
		must(v.Store.PutSystem(ctx, rec))(t)
		if _, err := v.AuditHead(ctx, a.Log); !errors.Is(err, vault.ErrStoreCorrupt) {
			t.Errorf("%s: %v", value, err)
		}
		if _, err := v.AuditHeads(ctx); !errors.Is(err, vault.ErrStoreCorrupt) {
			t.Errorf("%s: %v", value, err)
		}
		wantErr(t, v.KeepAuditHead(ctx, newer), vault.ErrStoreCorrupt)
	}
}

// With FailClosed nothing is done that isn't in the log; without it failures are counted.
func TestAuditFailClosed(t *testing.T) {
	for _, closed := range []bool{true, false} {
		l, path := openAudit(t, audit.Options{})
		v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed = l.OnEvent, closed })
		must(v.Put(t.Context(), orgA, "n", []byte("v")))(t)
		if err := l.Close(); err != nil { // like a disk that takes nothing more
			t.Fatal(err)
		}
		obj, err := v.Get(t.Context(), orgA, "n")
		if closed {
			wantErr(t, err, vault.ErrEvent)
			if obj.Value != nil {
				t.Error("what wasn't recorded is returned")
			}
		} else if err != nil || v.Stats().EventErrors == 0 {
			t.Errorf("%v, %d errors", err, v.Stats().EventErrors)
		}
		if got := len(records(t, path, audit.Filter{Event: vault.DataRead})); got != 0 {
			t.Errorf("%d reads are recorded", got)
		}
	}
}

// After every call of the API, done and failed, no log shows a plaintext, associated
// data, a key, a label or, unless EventContext asks for it, a value of the key context.
func TestAuditLogsShowNoSecret(t *testing.T) {
	for _, pairs := range []bool{false, true} {
		n := newNet(t)
		var plain bytes.Buffer
		lines := audit.NewJSONLines(&plain)
		l, path := openAudit(t, audit.Options{Every: 5})
		configure := func(c *vault.Config) {
			c.EventContext, c.EventMessages, c.Namespace = pairs, true, "ns"
			c.OnEvent = audit.Tee(l.OnEvent, lines.OnEvent)
		}
		v := vaulttest.New(t, configure)
		if err := l.Start(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		exported := string(must(v.AuditKey(t.Context()))(t).ExportVerificationKey())
		n.catch(strings.TrimSpace(exported[strings.LastIndex(exported, ":")+1:]))
		kc := vault.KeyContext{"organization_id": "S3" + n.secret()[10:]}
		given := secretSamples(t, n, v.Vault, kc)
		for _, fault := range []memkek.Fault{memkek.None, memkek.Denied, memkek.Corrupt} {
			v.KEK.SetFault(fault)
			cold := peerOf(t, v, configure)
			cold.KEK.SetFault(fault)
			for _, v := range []*vaulttest.Vault{v, cold} {
				calls := callsWith(t, v.Vault, kc, given)
				maps.Copy(calls, otherCalls(t, v.Vault))
				for _, name := range order(calls) {
					n.checkErr(name, calls[name]())
				}
				secretCalls(t, n, v.Vault, kc, given)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{string(b), plain.String()} {
			if shown := strings.Contains(text, kc["organization_id"]); shown != pairs {
				t.Errorf("EventContext %v: a pair shows: %v", pairs, shown)
			}
			if !pairs {
				n.check("a log", text)
			}
			if len(text) < 10_000 {
				t.Errorf("%d bytes of log", len(text))
			}
		}
		keys := must(v.AuditKeys(t.Context()))(t)
		r := must(audit.VerifyFiles(t.Context(), []string{path}, audit.VerifyOptions{Keys: keys}))(t)
		if !r.OK() {
			t.Errorf("%+v", r.Findings)
		}
	}
}

// Whoever has the audit key can forge the log: that somebody took it stands in it, also
// that the log did; and without a record of that nobody gets it.
func TestTakingTheAuditKeyIsAnEvent(t *testing.T) {
	l, path := openAudit(t, audit.Options{})
	fail := false
	v := vaulttest.New(t, func(c *vault.Config) {
		c.FailClosed = true
		c.OnEvent = func(ctx context.Context, e vault.Event) error {
			if fail {
				return errNo
			}
			return l.OnEvent(ctx, e)
		}
	})
	_, err := v.AuditKeys(vault.WithActor(t.Context(), "early"))
	wantErr(t, err, vault.ErrKeyNotFound)
	if err := l.Start(vault.WithActor(t.Context(), "app"), v); err != nil {
		t.Fatal(err)
	}
	keys := must(v.AuditKeys(vault.WithActor(t.Context(), "mallory")))(t)
	fail = true
	for _, err := range []error{second(v.AuditKey(t.Context())), second(v.AuditKeys(t.Context()))} {
		wantErr(t, err, vault.ErrEvent)
	}
	var told []string
	for _, rec := range records(t, path, audit.Filter{Event: vault.AuditKeyTaken}) {
		told = append(told, rec.Actor+" "+rec.ErrorClass)
		if rec.KeyID != keys[0].ID() && rec.ErrorClass == "" {
			t.Errorf("%+v", rec)
		}
	}
	if want := []string{"early key_not_found", "app ", "mallory "}; !slices.Equal(told, want) {
		t.Errorf("%q, want %q", told, want)
	}
}
