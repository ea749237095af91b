package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// wantReencrypted compares the counts of a report; Seen is their sum.
func wantReencrypted(t testing.TB, got, want vault.ReencryptReport) {
	t.Helper()
	want.Seen = want.Moved + want.Old + want.Raced + want.Failed
	got.Failures, got.Keys = nil, want.Keys
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("report %+v, want %+v", got, want)
	}
}

// allVersions returns every stored version of a vault's objects, envelopes and all.
func allVersions(t testing.TB, s storage.Store) map[vault.ID]storage.ObjectRecord {
	t.Helper()
	all := map[vault.ID]storage.ObjectRecord{}
	q := storage.ObjectQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}, IncludeExpired: true, Limit: 1000}
	for first := true; first || q.Cursor != ""; first = false {
		page := must(s.ListObjects(t.Context(), q))(t)
		for _, o := range page.Objects {
			for _, rec := range must(s.ListVersions(t.Context(), storage.VersionQuery{Object: o.ID, WithEnvelope: true, IncludeExpired: true, Limit: 1000}))(t).Objects {
				all[rec.VersionID] = rec
			}
		}
		q.Cursor = page.Next
	}
	return all
}

// Everything stays as it is but the key and the envelope.
func TestReencryptObjects(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx := vault.WithActor(t.Context(), "writer")
		later := time.Now().Add(time.Hour)
		for i := range 5 {
			must(v.Put(ctx, orgA, fmt.Sprint(i), fmt.Append(nil, "first ", i), vault.Labels(map[string]string{"n": fmt.Sprint(i)})))(t)
			must(v.Put(ctx, orgA, fmt.Sprint(i), fmt.Append(nil, "second ", i), vault.ExpiresAt(later)))(t)
		}
		must(v.Put(ctx, userA, "u", nil))(t)
		must(v.Put(ctx, orgB, "b", []byte("b")))(t)
		before := allVersions(t, c.Store)
		for _, kc := range []vault.KeyContext{orgA, userA, orgB} {
			ok(t, v.Rotate(t.Context(), kc))
		}
		must(v.Put(ctx, orgA, "new", []byte("under the new key")))(t)

		report := must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{Match: orgA, DryRun: true}))(t)
		wantReencrypted(t, report, vault.ReencryptReport{Moved: 6, Old: 5})
		report = must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{Match: orgA}))(t)
		wantReencrypted(t, report, vault.ReencryptReport{Moved: 6, Old: 5})
		report = must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{Match: orgA, OldVersions: true}))(t)
		wantReencrypted(t, report, vault.ReencryptReport{Moved: 5})
		report = must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{Match: orgA, OldVersions: true}))(t)
		wantReencrypted(t, report, vault.ReencryptReport{})

		active := map[vault.KeyID]bool{}
		for k, err := range v.Keys(t.Context(), vault.KeyFilter{All: true, State: vault.StateActive}) {
			ok(t, err)
			active[k.ID] = true
		}
		after := allVersions(t, c.Store)
		for id, was := range before {
			now := after[id]
			if moved := was.ContextHash != hashIn(t, orgB, c.Namespace); moved != active[now.KeyID] || moved == bytes.Equal(now.Envelope, was.Envelope) {
				t.Fatalf("%s %d: under key %s", was.Name, was.Number, now.KeyID.Short())
			}
			now.KeyID, now.Envelope = was.KeyID, was.Envelope
			if !now.Same(was) {
				t.Fatalf("%+v became %+v", was, now)
			}
		}
		cold := open(t, c)
		for i := range 5 {
			obj := must(cold.Get(t.Context(), orgA, fmt.Sprint(i)))(t)
			if string(obj.Value) != fmt.Sprint("second ", i) || obj.UpdatedBy != "writer" || obj.Number != 2 || !obj.ExpiresAt.Equal(later.Truncate(time.Microsecond)) {
				t.Errorf("%+v", obj.Metadata)
			}
			for m, err := range cold.Versions(t.Context(), orgA, fmt.Sprint(i)) {
				ok(t, err)
				must(cold.Get(t.Context(), orgA, fmt.Sprint(i), vault.AtVersion(m.VersionID)))(t)
			}
		}
	})
}

// An object that has expired is moved too: it refers to the key until it is swept.
func TestReencryptMovesWhatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.SweepEvery = -1 })
		must(v.Put(t.Context(), orgA, "a", []byte("x"), vault.ExpiresAt(time.Now().Add(time.Minute))))(t)
		ok(t, v.Rotate(t.Context(), orgA))
		time.Sleep(time.Hour)
		report := must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true}))(t)
		wantReencrypted(t, report, vault.ReencryptReport{Moved: 1})
		wantErr(t, second(v.Get(t.Context(), orgA, "a")), vault.ErrNotFound)
	})
}

// Another process rotated a moment ago: the key that is cached as the active one is
// the old one.
func TestReencryptAfterAnothersRotation(t *testing.T) {
	v := vaulttest.New(t)
	peer := peerOf(t, v)
	must(v.Put(t.Context(), orgA, "a", []byte("x")))(t)
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("m"), nil))(t)
	ok(t, peer.Rotate(t.Context(), orgA))
	report := must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true}))(t)
	wantReencrypted(t, report, vault.ReencryptReport{Moved: 1})
	keys := inventory(t, v.Vault, vault.KeyFilter{All: true, Objects: true})
	if len(keys) != 2 || keys[0].Objects != 0 || keys[1].Objects != 1 {
		t.Errorf("keys %+v", keys)
	}
	moved := must(v.Reencrypt(t.Context(), orgA, sealed, nil))(t)
	if must(vault.Inspect(moved))(t).KeyID != keys[1].ID {
		t.Error("the message is under the old key")
	}
}

// A writer, a deletion and another pass are faster, and win.
func TestReencryptRaces(t *testing.T) {
	for name, race := range map[string]func(t *testing.T, v *vaulttest.Vault, id vault.ID){
		"delete": func(t *testing.T, v *vaulttest.Vault, _ vault.ID) {
			ok(t, v.Delete(context.Background(), orgA, "a"))
		},
		"pass": func(t *testing.T, v *vaulttest.Vault, _ vault.ID) {
			report := must(v.ReencryptObjects(context.Background(), vault.ReencryptOptions{All: true}))(t)
			wantReencrypted(t, report, vault.ReencryptReport{Moved: 1})
		},
	} {
		v := vaulttest.New(t)
		peer := peerOf(t, v)
		meta := must(v.Put(t.Context(), orgA, "a", []byte("x")))(t)
		ok(t, v.Rotate(t.Context(), orgA))
		v.Store.SetFault(func(op string) error {
			if op == "ReplaceEnvelope" {
				v.Store.SetFault(nil)
				race(t, peer, meta.ID)
			}
			return nil
		})
		report := must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true}))(t)
		wantReencrypted(t, report, vault.ReencryptReport{Raced: 1})
		if name == "pass" {
			must(v.Get(t.Context(), orgA, "a"))(t)
		}
	}
	// A put is faster: its value stays.
	v := vaulttest.New(t)
	peer := peerOf(t, v)
	must(v.Put(t.Context(), orgA, "a", []byte("old")))(t)
	ok(t, v.Rotate(t.Context(), orgA))
	v.Store.SetFault(func(op string) error {
		if op == "ReplaceEnvelope" {
			v.Store.SetFault(nil)
			must(peer.Put(context.Background(), orgA, "a", []byte("new")))(t)
		}
		return nil
	})
	must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true}))(t)
	if obj := must(v.Get(t.Context(), orgA, "a"))(t); string(obj.Value) != "new" || obj.Number != 2 {
		t.Errorf("got %q, version %d", obj.Value, obj.Number)
	}
}

// Writers and readers at work, two passes and rotations at once: no write is lost,
// nothing becomes unreadable.
func TestReencryptUnderLoad(t *testing.T) {
	v := vaulttest.New(t)
	const orgs, names = 4, 8
	var wg sync.WaitGroup
	for o := range orgs {
		wg.Go(func() {
			p := peerOf(t, v)
			for n := range 400 { // each pass has more to look at than the one before
				name, value := fmt.Sprint(n%names), fmt.Append(nil, n)
				if _, err := p.Put(t.Context(), org(o), name, value); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				if obj, err := p.Get(t.Context(), org(o), name); err != nil || !bytes.Equal(obj.Value, value) {
					t.Errorf("got %q, want %q: %v", obj.Value, value, err)
					return
				}
				if n%100 == 99 {
					if err := p.Rotate(t.Context(), org(o)); err != nil && !errors.Is(err, vault.ErrVersionConflict) {
						t.Errorf("rotate: %v", err)
					}
				}
			}
		})
	}
	passes := []*vaulttest.Vault{peerOf(t, v), peerOf(t, v)}
	var moving sync.WaitGroup
	for i, p := range passes {
		moving.Go(func() {
			for range 10 {
				if _, err := p.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true, OldVersions: i == 1}); err != nil {
					t.Errorf("re-encrypt: %v", err)
				}
			}
		})
	}
	moving.Wait()
	wg.Wait()
	must(peerOf(t, v).ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true, OldVersions: true}))(t)
	for _, k := range inventory(t, v.Vault, vault.KeyFilter{All: true, State: vault.StateDecryptOnly, Objects: true}) {
		if k.Objects > 0 {
			t.Errorf("%d versions are under version %d", k.Objects, k.Version)
		}
	}
	for o := range orgs {
		for m, err := range v.List(t.Context(), org(o), vault.ListOptions{}) {
			ok(t, err)
			for old, err := range v.Versions(t.Context(), org(o), m.Name) {
				ok(t, err)
				must(v.Get(t.Context(), org(o), m.Name, vault.AtVersion(old.VersionID)))(t)
			}
		}
	}
}

// One organisation's KEK is denied half-way: its objects fail, by name, and no others.
func TestReencryptReportsFailures(t *testing.T) {
	theirs := memkek.New("theirs")
	w := newBYOKWorld(t, 0)
	ok(t, w.rules.Set(match(1), any1(theirs)))
	for i := range 4 {
		must(w.Put(t.Context(), org(i), "a", fmt.Append(nil, i)))(t)
		ok(t, w.Rotate(t.Context(), org(i)))
	}
	theirs.SetFault(memkek.Denied)
	p := w.peer(t)
	report, err := p.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true})
	wantErr(t, err, vault.ErrReencryptIncomplete)
	wantReencrypted(t, report, vault.ReencryptReport{Moved: 3, Failed: 1})
	if f := report.Failures; len(f) != 1 || !errors.Is(f[0].Err, kek.ErrDenied) || f[0].Name != "a" || f[0].ContextHash != hashIn(t, org(1), "") {
		t.Errorf("failures %+v", f)
	}
	theirs.SetFault(memkek.None)
	report = must(p.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true}))(t)
	wantReencrypted(t, report, vault.ReencryptReport{Moved: 1})
	for i := range 4 {
		must(w.peer(t).Get(t.Context(), org(i), "a"))(t)
	}
	if n := len(p.Events(vault.DataReencrypted)); n != 5 { // one of them failed
		t.Errorf("%d events", n)
	}
}

// A row that was moved to another context, name or version fails, and is not touched.
func TestReencryptBelievesNoRow(t *testing.T) {
	for name, edit := range map[string]func(*storage.ObjectRecord){
		"name":     func(r *storage.ObjectRecord) { r.Name = "z" },
		"expiry":   func(r *storage.ObjectRecord) { r.ExpiresAt = time.Now().Add(time.Hour).UnixMicro() },
		"envelope": func(r *storage.ObjectRecord) { r.Envelope[len(r.Envelope)-1] ^= 1 },
		"context": func(r *storage.ObjectRecord) {
			r.Context, r.ContextHash = orgB.Clone(), hashIn(t, orgB, "")
		},
	} {
		v := vaulttest.New(t)
		meta := must(v.Put(t.Context(), orgA, "a", []byte("x")))(t)
		ok(t, v.Rotate(t.Context(), orgA))
		ok(t, v.Store.EditObject(meta.ID, meta.VersionID, edit))
		before := allVersions(t, v.Store)[meta.VersionID]
		report, err := v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true})
		if !errors.Is(err, vault.ErrReencryptIncomplete) || report.Failed != 1 {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
		if after := allVersions(t, v.Store)[meta.VersionID]; !after.Same(before) {
			t.Errorf("%s: the row was changed", name)
		}
	}
}

// What is under a shredded key is counted, and stays what it is.
func TestReencryptCountsTheDead(t *testing.T) {
	v := vaulttest.New(t)
	must(v.Put(t.Context(), orgA, "a", []byte("x")))(t)
	must(v.Put(t.Context(), orgA, "b", []byte("x")))(t)
	must(v.Shred(t.Context(), orgA, vault.ShredOptions{}))(t)
	must(v.Put(t.Context(), orgA, "c", []byte("x")))(t)
	report := must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true}))(t)
	wantReencrypted(t, report, vault.ReencryptReport{Dead: 2})
	if report.Keys != 1 {
		t.Errorf("%d keys", report.Keys)
	}
}

// A job goes on where it was stopped, in another process too.
func TestReencryptJobGoesOn(t *testing.T) {
	v := vaulttest.New(t)
	kcs := make([]vault.KeyContext, 30)
	for i := range kcs {
		kcs[i] = org(i)
		for n := range 50 {
			must(v.Put(t.Context(), kcs[i], fmt.Sprint(n), fmt.Append(nil, n)))(t)
			if n%2 == 0 {
				must(v.Put(t.Context(), kcs[i], fmt.Sprint(n), fmt.Append(nil, n)))(t)
			}
		}
		ok(t, v.Rotate(t.Context(), kcs[i]))
	}
	ctx, cancel := context.WithCancel(t.Context())
	job := vault.ReencryptOptions{All: true, Job: "move"}
	first := job
	batches := 0
	first.Progress = func(vault.ReencryptReport) {
		if batches++; batches == 3 {
			cancel()
		}
	}
	report, err := v.ReencryptObjects(ctx, first)
	wantErr(t, err, context.Canceled)
	if report.Seen < 600 || report.Seen > 1200 {
		t.Fatalf("stopped after %d", report.Seen)
	}
	wantErr(t, second(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true, OldVersions: true, Job: "move"})), vault.ErrInvalidOption)
	var seen []int64
	job.Progress = func(r vault.ReencryptReport) { seen = append(seen, r.Seen) }
	report = must(peerOf(t, v).ReencryptObjects(t.Context(), job))(t)
	wantReencrypted(t, report, vault.ReencryptReport{Moved: 30 * 50, Old: 30 * 25})
	if report.Keys != 30 || seen[0] < 600 || !slices.IsSorted(seen) {
		t.Errorf("%d keys; progress %v", report.Keys, seen)
	}
	if left := must(v.Store.ListSystem(t.Context(), "", "", 10))(t); len(left) > 0 {
		t.Errorf("the finished job left %v", left)
	}
}

func TestReencryptOptions(t *testing.T) {
	v := vaulttest.New(t)
	for name, o := range map[string]vault.ReencryptOptions{
		"nothing": {}, "both": {All: true, Match: orgA}, "concurrency": {All: true, Concurrency: -1},
		"failures": {All: true, MaxFailures: -1}, "rate": {All: true, RateLimit: -1},
		"job": {All: true, Job: "../x"}, "job of a dry run": {All: true, Job: "x", DryRun: true},
	} {
		if _, err := v.ReencryptObjects(t.Context(), o); !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantErr(t, second(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{Match: vault.KeyContext{"": ""}})), vault.ErrInvalidContext)
}

func TestReencryptStopsAfterMaxFailuresAndKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		for n := range 21 {
			meta := must(v.Put(t.Context(), orgA, fmt.Sprint(n), nil))(t)
			if n > 10 {
				ok(t, v.Store.EditObject(meta.ID, meta.VersionID, func(r *storage.ObjectRecord) { r.Envelope[0] = 0 }))
			}
		}
		ok(t, v.Rotate(t.Context(), orgA))
		report, err := v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true, MaxFailures: 2, Concurrency: 1})
		wantErr(t, err, vault.ErrReencryptIncomplete)
		if report.Failed != 2 {
			t.Errorf("report %+v", report)
		}
		start := time.Now()
		report, err = v.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true, RateLimit: 2})
		wantErr(t, err, vault.ErrReencryptIncomplete)
		if took := time.Since(start); took != time.Duration(report.Seen-1)*time.Second/2 || report.Failed != 10 {
			t.Errorf("%d versions took %v", report.Seen, took)
		}
	})
}

// The caller's own ciphertext, of every kind and form that it keeps.
func TestReencryptMessages(t *testing.T) {
	for _, self := range []bool{false, true} {
		v := vaulttest.New(t, func(c *vault.Config) { c.SelfContained = self })
		aad := []byte("row 1")
		message := must(v.Encrypt(t.Context(), orgA, []byte("m"), aad))(t)
		text := must(v.EncryptString(t.Context(), orgA, "t", nil))(t)
		dataKey := must(v.CreateDataKey(t.Context(), orgA))(t)
		forms := map[string][]byte{"message": message, "text": []byte(text), "data key": dataKey.Sealed}
		for name, data := range forms {
			if must(v.NeedsReencrypt(t.Context(), orgA, data))(t) {
				t.Errorf("%s is under the active key", name)
			}
		}
		ok(t, v.Rotate(t.Context(), orgA))
		active := inventory(t, v.Vault, vault.KeyFilter{All: true, State: vault.StateActive})[0].ID
		for name, data := range maps.Clone(forms) {
			if !must(v.NeedsReencrypt(t.Context(), orgA, data))(t) {
				t.Errorf("%s is under the old key", name)
			}
			a := []byte(nil)
			if name == "message" {
				a = aad
				wantErr(t, second(v.Reencrypt(t.Context(), orgA, data, nil)), vault.ErrDecrypt)
			}
			wantClass(t, second(v.Reencrypt(t.Context(), orgB, data, a)), map[bool][]string{false: {"ErrWrongContext"}, true: {"ErrKEKCorrupt", "ErrWrongContext"}}[self]...)
			forms[name] = must(v.Reencrypt(t.Context(), orgA, data, a))(t)
			if must(v.NeedsReencrypt(t.Context(), orgA, forms[name]))(t) {
				t.Errorf("%s was re-encrypted", name)
			}
			if info := must(vault.Inspect(forms[name]))(t); info.KeyID != active {
				t.Errorf("%s is under key %s", name, info.KeyID.Short())
			}
		}
		if got := must(v.Decrypt(t.Context(), orgA, forms["message"], aad))(t); string(got) != "m" {
			t.Errorf("message %q", got)
		}
		if got := must(v.DecryptString(t.Context(), orgA, string(forms["text"]), nil))(t); got != "t" {
			t.Errorf("text %q", got)
		}
		if got := must(v.DecryptDataKey(t.Context(), orgA, forms["data key"]))(t); !bytes.Equal(got, dataKey.Key) {
			t.Error("another data key")
		}
		if len(inventory(t, v.Vault, vault.KeyFilter{Match: orgB})) != 0 {
			t.Error("a key was made for the wrong context")
		}
	}
}

// Envelopes that carry their key are re-encrypted when it is wrapped otherwise by now.
func TestNeedsReencryptOfOtherForms(t *testing.T) {
	self := vaulttest.New(t, func(c *vault.Config) { c.SelfContained = true })
	byRef := peerOf(t, self)
	sealed := must(self.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	if must(self.NeedsReencrypt(t.Context(), orgA, sealed))(t) || !must(byRef.NeedsReencrypt(t.Context(), orgA, sealed))(t) {
		t.Error("a self-contained envelope")
	}
	ref := must(byRef.Reencrypt(t.Context(), orgA, sealed, nil))(t)
	if must(byRef.NeedsReencrypt(t.Context(), orgA, ref))(t) || !must(self.NeedsReencrypt(t.Context(), orgA, ref))(t) {
		t.Error("an envelope by reference")
	}
	meta := must(self.Put(t.Context(), orgA, "o", []byte("x")))(t)
	rec := allVersions(t, self.Store)[meta.VersionID]
	for _, data := range [][]byte{nil, []byte("x"), []byte("vlt1."), rec.Envelope, []byte(textOf(rec.Envelope))} {
		wantErr(t, second(self.NeedsReencrypt(t.Context(), orgA, data)), vault.ErrMalformed)
		wantErr(t, second(self.Reencrypt(t.Context(), orgA, data, nil)), vault.ErrMalformed)
	}
	wantErr(t, second(self.NeedsReencrypt(t.Context(), nil, sealed)), vault.ErrInvalidContext)
	wantErr(t, second(self.Reencrypt(t.Context(), nil, sealed, nil)), vault.ErrInvalidContext)
	must(self.Shred(t.Context(), orgA, vault.ShredOptions{}))(t)
	wantClass(t, second(self.NeedsReencrypt(t.Context(), orgA, sealed)), "ErrKeyShredded")
	wantClass(t, second(self.Reencrypt(t.Context(), orgA, sealed, nil)), "ErrKeyShredded")
}
