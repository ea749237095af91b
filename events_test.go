package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/vaulttest"
)

// recorder is an OnEvent that keeps what it is told and can be told to fail.
type recorder struct {
	mu     sync.Mutex
	events []vault.Event
	fail   map[vault.EventName]error
	panics bool
}

func (r *recorder) on(_ context.Context, e vault.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if r.panics {
		panic("told to")
	}
	return r.fail[e.Name]
}

// take returns the events since it was last called.
func (r *recorder) take() []vault.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) failOn(err error, names ...vault.EventName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = map[vault.EventName]error{}
	for _, n := range names {
		r.fail[n] = err
	}
}

// expect is the event that a method makes.
var expect = map[string]vault.EventName{
	"Encrypt": vault.MessageEncrypted, "AppendEncrypt": vault.MessageEncrypted, "EncryptString": vault.MessageEncrypted,
	"Decrypt": vault.MessageDecrypted, "AppendDecrypt": vault.MessageDecrypted, "DecryptString": vault.MessageDecrypted,
	"AEAD.Encrypt": vault.MessageEncrypted, "AEADWithContext.Encrypt": vault.MessageEncrypted,
	"AEAD.Decrypt": vault.MessageDecrypted, "AEADWithContext.Decrypt": vault.MessageDecrypted,
	"CreateDataKey": vault.DEKCreated, "DecryptDataKey": vault.DEKDecrypted, "RekeyDataKey": vault.DEKRekeyed,
	"Put": vault.DataUpdated, "Get": vault.DataRead, "GetMany": vault.DataRead, "GetByID": vault.DataRead,
	"Describe": vault.MetadataRead, "Delete": vault.DataDeleted,
	"List": vault.NamesListed, "ListPage": vault.NamesListed, "Versions": vault.NamesListed,
	"Rotate": vault.KeyRotated, "VerifyKEK": vault.KEKVerified,
	"Lookup":    vault.MetadataRead,
	"SealField": vault.FieldEncrypted, "OpenField": vault.FieldDecrypted, "BlindIndex": vault.IndexComputed, "BlindIndexQuery": vault.IndexComputed,
}

// silent are the methods that make no event of their own.
var silent = []string{"Prepare", "PrepareIndex", "Check", "Sweep"}

// order puts Delete last, so that what the others need is there.
func order(calls map[string]func() error) []string {
	list := slices.DeleteFunc(slices.Sorted(maps.Keys(calls)), func(s string) bool { return s == "Delete" })
	if len(list) < len(calls) {
		list = append(list, "Delete")
	}
	return list
}

// Every call makes exactly one event, done or failed, with its name, its context
// hash, who and why, and how long it took.
func TestOneEventForEachOperation(t *testing.T) {
	for _, through := range []string{"vault", "scope"} {
		for _, failing := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, failing %v", through, failing), func(t *testing.T) {
				r := new(recorder)
				v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.EventMessages = r.on, true })
				s := sampleOf(t, v.Vault, orgA)
				must(v.Encrypt(t.Context(), orgB, nil, nil))(t)
				ctx := vault.WithReason(vault.WithActor(t.Context(), "ann"), "ticket 7")
				tb := withContext{t, ctx}
				calls := callsWith(tb, v.Vault, orgA, s)
				if through == "scope" {
					calls = scopeCalls(tb, v.Vault, v.Scope(orgA), s)
				} else {
					calls["Lookup"] = func() error { _, err := v.Lookup(ctx, s.id); return err }
				}
				if failing {
					v = peerOf(t, v, func(c *vault.Config) { c.OnEvent, c.EventMessages = r.on, true })
					calls = callsWith(tb, v.Vault, orgA, s)
					if through == "scope" {
						calls = scopeCalls(tb, v.Vault, v.Scope(orgA), s)
					}
					v.Store.SetFault(func(string) error { return vault.ErrStoreUnavailable })
					v.KEK.SetFault(memkek.Corrupt)
				}
				r.take()
				for _, name := range order(calls) {
					start := time.Now()
					err := calls[name]()
					events := r.take()
					if slices.Contains(silent, name) {
						if len(events) != 0 {
							t.Errorf("%s made %v", name, events)
						}
						continue
					}
					if name == "RekeyDataKey" && through == "scope" { // to another context: the one it leaves is told of too
						if len(events) != 2 || events[0].Name != vault.DEKDecrypted || events[0].ContextHash != hashIn(t, orgA, "") ||
							events[0].Actor != "ann" || (events[0].Err != nil) != failing || events[0].KeyID.IsZero() {
							t.Errorf("%s: %+v", name, events)
							continue
						}
						events = events[1:]
					}
					if (err != nil) != failing || len(events) != 1 {
						t.Errorf("%s: %v; %d events", name, err, len(events))
						continue
					}
					e, about := events[0], hashIn(t, orgA, "")
					if name == "RekeyDataKey" && through == "scope" {
						about = hashIn(t, orgB, "") // the context it is rekeyed to
					}
					if e.Name != expect[name] || e.ContextHash != about || e.Actor != "ann" || e.Reason != "ticket 7" || e.Context != nil ||
						e.Time.Before(start.Add(-time.Millisecond)) || e.Time.After(time.Now()) || e.Time.Location() != time.UTC || e.Duration < 0 || e.Duration > time.Since(start)+time.Millisecond {
						t.Errorf("%s: %+v", name, e)
					}
					if !errors.Is(err, e.Err) || (e.Err == nil) != (err == nil) {
						t.Errorf("%s fails with %v, its event says %v", name, err, e.Err)
					}
					wantEventFields(t, name, e, s, failing)
				}
			})
		}
	}
}

func wantEventFields(t *testing.T, name string, e vault.Event, s samples, failing bool) {
	t.Helper()
	object := slices.Contains([]string{"Put", "Get", "Describe", "Delete", "Versions"}, name)
	if object && e.Object != "sample" {
		t.Errorf("%s: the event names the object %q", name, e.Object)
	}
	if name == "GetByID" && e.ObjectID != s.id {
		t.Errorf("%s: the event says %v", name, e.ObjectID)
	}
	if failing {
		return
	}
	if object && name != "Versions" && (e.ObjectID != s.id || e.VersionID.IsZero()) {
		t.Errorf("%s: object %v, version %v", name, e.ObjectID, e.VersionID)
	}
	if withKey := !strings.HasPrefix(string(e.Name), "names.") && e.Name != vault.KEKVerified; withKey == e.KeyID.IsZero() {
		t.Errorf("%s: key %v", name, e.KeyID)
	}
}

func TestEventNames(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	must(v.Put(ctx, orgA, "x", nil))(t)
	must(v.Put(ctx, orgA, "x", nil))(t)
	if err := v.Rotate(ctx, orgA); err != nil {
		t.Fatal(err)
	}
	var got []vault.EventName
	for _, e := range v.Events() {
		got = append(got, e.Name)
	}
	if fmt.Sprint(got) != "[key.created data.created data.updated key.rotated]" {
		t.Fatal(got)
	}
	created := v.Events(vault.KeyCreated)[0]
	if created.KeyID.IsZero() || created.ContextHash != hashIn(t, orgA, "") || created.Err != nil {
		t.Fatalf("%+v", created)
	}
	if rotated := v.Events(vault.KeyRotated)[0]; rotated.KeyID == created.KeyID || rotated.KeyID.IsZero() {
		t.Fatalf("%+v", rotated)
	}
	// What fails is told as well.
	wantClass(t, v.Rotate(ctx, orgB), "ErrKeyNotFound")
	if e := v.Events(vault.KeyRotated); len(e) != 2 || !errors.Is(e[1].Err, vault.ErrKeyNotFound) || e[1].ContextHash != hashIn(t, orgB, "") {
		t.Fatalf("%+v", e)
	}
	_, err := v.Put(ctx, orgA, "x", nil, vault.IfAbsent())
	if e := v.Events(vault.DataUpdated); len(e) != 2 || !errors.Is(e[1].Err, vault.ErrExists) || err == nil {
		t.Fatalf("%+v", e)
	}
}

// An event for each name, as of so many Gets.
func TestGetManyEvents(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	good := must(v.Put(ctx, orgA, "good", []byte("1")))(t)
	bad := must(v.Put(ctx, orgA, "bad", []byte("2")))(t)
	edit(t, v.Store, bad, flipLast)
	got, err := v.GetMany(ctx, orgA, "good", "bad", "absent", "good")
	wantClass(t, err, "ErrDecrypt")
	if len(got) != 1 || string(got["good"].Value) != "1" {
		t.Fatalf("%d objects", len(got))
	}
	outcome := map[string]string{}
	for _, e := range v.Events(vault.DataRead) {
		outcome[e.Object] += fmt.Sprint(classes(e.Err))
		if e.Object == "good" && (e.ObjectID != good.ID || e.VersionID != good.VersionID || e.KeyID != good.KeyID) {
			t.Fatalf("%+v", e)
		}
	}
	if want := map[string]string{"good": "[]", "bad": "[ErrDecrypt]", "absent": "[ErrNotFound]"}; !maps.Equal(outcome, want) {
		t.Fatalf("%v", outcome)
	}
}

// Successes of message calls are events only by option; failures always are.
func TestEventMessagesOption(t *testing.T) {
	r := new(recorder)
	v := open(t, vault.Config{KEK: memkek.New("k"), OnEvent: r.on})
	sealed := must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
	must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
	if e := r.take(); len(e) != 1 || e[0].Name != vault.KeyCreated {
		t.Fatalf("%+v", e)
	}
	_, err := v.Decrypt(t.Context(), orgA, sealed, []byte("other"))
	wantClass(t, err, "ErrDecrypt")
	_, err = v.DecryptString(t.Context(), orgA, "nonsense", nil)
	wantClass(t, err, "ErrMalformed")
	e := r.take()
	if len(e) != 2 || e[0].Name != vault.MessageDecrypted || e[1].Name != vault.MessageDecrypted || e[0].Err == nil || e[1].Err == nil || e[0].KeyID.IsZero() {
		t.Fatalf("%+v", e)
	}
}

func TestEventContextOption(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.EventContext, c.Namespace = true, "ns" })
	s := sampleOf(t, v.Vault, userA)
	for _, name := range order(callsWith(t, v.Vault, userA, s)) {
		if err := callsWith(t, v.Vault, userA, s)[name](); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	meta := must(v.Put(t.Context(), userA, "x", nil))(t)
	must(v.Lookup(t.Context(), meta.ID))(t)
	v.KEK.SetFault(memkek.Denied)
	if err := v.VerifyKEK(t.Context(), userA); err == nil {
		t.Fatal("not denied")
	}
	seen := map[vault.EventName]bool{}
	for _, e := range v.Events() {
		seen[e.Name] = true
		if !maps.Equal(e.Context, userA) {
			t.Errorf("%s says the context is %v", e.Name, e.Context)
		}
		clear(e.Context) // its own copy
	}
	if len(seen) < 15 {
		t.Errorf("only %v were seen", seen)
	}
	if userA["user_id"] == "" {
		t.Fatal("the caller's map was given to OnEvent")
	}
}

func TestKEKDeniedEvent(t *testing.T) {
	v := vaulttest.New(t)
	ctx := vault.WithActor(t.Context(), "ann")
	v.KEK.SetFault(memkek.Denied)
	_, err := v.Encrypt(ctx, orgA, nil, nil)
	wantClass(t, err, "ErrKEKDenied")
	events := v.Events()
	if len(events) != 2 || events[0].Name != vault.KEKDenied || events[1].Name != vault.MessageEncrypted {
		t.Fatalf("%+v", events)
	}
	e := events[0]
	if e.KEK != "mem:test" || !errors.Is(e.Err, vault.ErrKEKDenied) || e.ContextHash != hashIn(t, orgA, "") || e.Actor != "ann" || e.KeyID.IsZero() {
		t.Fatalf("%+v", e)
	}
}

// With FailClosed: what was read is not returned if its event wasn't recorded.
func TestFailClosedReads(t *testing.T) {
	r := new(recorder)
	cause := errors.New("the log is full")
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed = r.on, true })
	ctx := t.Context()
	s := sampleOf(t, v.Vault, orgA)
	r.failOn(cause, slices.Collect(maps.Values(expect))...)
	check := func(name string, got any, empty bool, err error) {
		t.Helper()
		if !empty {
			t.Errorf("%s: %v was returned", name, got)
		}
		if !errors.Is(err, vault.ErrEvent) || !errors.Is(err, cause) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b, err := v.Decrypt(ctx, orgA, s.message, nil)
	check("Decrypt", b, b == nil, err)
	dst := make([]byte, 0, 100)
	b, err = v.AppendDecrypt(ctx, orgA, dst, s.message, nil)
	check("AppendDecrypt", b, b == nil && bytes.Equal(dst[:1], []byte{0}), err)
	text, err := v.DecryptString(ctx, orgA, s.text, nil)
	check("DecryptString", text, text == "", err)
	b, err = v.DecryptDataKey(ctx, orgA, s.dataKey)
	check("DecryptDataKey", b, b == nil, err)
	obj, err := v.Get(ctx, orgA, "sample")
	check("Get", obj.Metadata, obj.Value == nil && obj.ID.IsZero(), err)
	obj, err = v.GetByID(ctx, orgA, s.id)
	check("GetByID", obj.Metadata, obj.Value == nil && obj.ID.IsZero(), err)
	many, err := v.GetMany(ctx, orgA, "sample")
	check("GetMany", many, len(many) == 0, err)
	many, err = v.GetMany(ctx, orgA, "absent")
	check("GetMany of what isn't there", many, len(many) == 0, err)
	meta, err := v.Describe(ctx, orgA, "sample")
	check("Describe", meta, meta.ID.IsZero(), err)
	meta, err = v.Lookup(ctx, s.id)
	check("Lookup", meta, meta.ID.IsZero(), err)
	page, err := v.ListPage(ctx, orgA, vault.ListOptions{})
	check("ListPage", page, len(page.Objects) == 0 && page.Next == "", err)
	for name, seq := range map[string]func(func(vault.Metadata, error) bool){
		"List": v.List(ctx, orgA, vault.ListOptions{}), "Versions": v.Versions(ctx, orgA, "sample"),
	} {
		n := 0
		for m, err := range seq {
			n++
			check(name, m, m.ID.IsZero(), err)
		}
		if n != 1 {
			t.Errorf("%s went on after an error", name)
		}
	}
	key, err := v.CreateDataKey(ctx, orgA)
	check("CreateDataKey", key, key.Key == nil && key.Sealed == nil, err)
	b, err = v.RekeyDataKey(ctx, orgA, s.dataKey, orgA)
	check("RekeyDataKey", b, b == nil, err)
	b, err = v.Encrypt(ctx, orgA, nil, nil)
	check("Encrypt", b, b == nil, err)
	check("VerifyKEK", nil, true, v.VerifyKEK(ctx, orgA))
	// What failed anyhow says both.
	_, err = v.Get(ctx, orgA, "absent")
	wantClass(t, err, "ErrEvent", "ErrNotFound")
	if n := v.Stats().EventErrors; n != 18 {
		t.Errorf("%d failures were counted", n)
	}
}

// What was written stays written, and the error tells it from a write that
// failed by matching ErrEvent and nothing else.
func TestFailClosedWrites(t *testing.T) {
	r := new(recorder)
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed = r.on, true })
	ctx := t.Context()
	must(v.Encrypt(ctx, orgA, nil, nil))(t)
	r.failOn(errors.New("the log is full"), slices.Collect(maps.Values(expect))...)
	r.fail[vault.DataCreated] = errors.New("the log is full")
	_, err := v.Put(ctx, orgA, "x", []byte("1"))
	wantClass(t, err, "ErrEvent")
	_, err = v.Put(ctx, orgA, "x", []byte("2"))
	wantClass(t, err, "ErrEvent")
	wantClass(t, v.Rotate(ctx, orgA), "ErrEvent")
	r.failOn(nil)
	if got := must(v.Get(ctx, orgA, "x"))(t); string(got.Value) != "2" || got.Number != 2 {
		t.Fatalf("%q, version %d", got.Value, got.Number)
	}
	if n := len(keysOf(t, v, orgA)); n != 2 {
		t.Fatalf("%d keys", n)
	}
	r.failOn(errors.New("the log is full"), vault.DataDeleted)
	wantClass(t, v.Delete(ctx, orgA, "x"), "ErrEvent")
	must(v.Put(ctx, orgA, "y", nil, vault.ExpiresAt(time.Now().Add(-time.Second))))(t)
	n, err := v.Sweep(ctx)
	wantClass(t, err, "ErrEvent")
	if n != 1 || rowsIn(t, v) != 0 {
		t.Fatalf("%d swept, %d left", n, rowsIn(t, v))
	}
	// A vault in which nothing is recorded still works for those it was told of
	// before: after a rotation that wasn't recorded everything opens.
	r.failOn(nil)
	sealed := must(peerOf(t, v).Encrypt(ctx, orgA, []byte("x"), nil))(t)
	must(v.Decrypt(ctx, orgA, sealed, nil))(t)
}

// The event of a new key fails: nothing is sealed under it by that call, and the
// next one goes on with the key that is there.
func TestFailClosedKeyCreated(t *testing.T) {
	r := new(recorder)
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed = r.on, true })
	ctx := t.Context()
	r.failOn(errors.New("the log is full"), vault.KeyCreated)
	b, err := v.Encrypt(ctx, orgA, []byte("x"), nil)
	wantClass(t, err, "ErrEvent")
	_, err2 := v.Put(ctx, orgB, "x", []byte("x"))
	wantClass(t, err2, "ErrEvent")
	if b != nil {
		t.Fatal("an envelope was returned")
	}
	if _, err := v.Get(ctx, orgB, "x"); !errors.Is(err, vault.ErrNotFound) {
		t.Fatalf("an object was written: %v", err)
	}
	for range 2 {
		sealed := must(v.Encrypt(ctx, orgA, []byte("x"), nil))(t)
		must(peerOf(t, v).Decrypt(ctx, orgA, sealed, nil))(t)
	}
	if n := len(keysOf(t, v, orgA)); n != 1 || v.KEK.Wraps() != 2 {
		t.Fatalf("%d keys, %d wraps", n, v.KEK.Wraps())
	}
}

// Without FailClosed a failing or panicking OnEvent harms nothing and is
// counted.
func TestEventErrorsAreCounted(t *testing.T) {
	for _, panics := range []bool{false, true} {
		r := &recorder{panics: panics}
		v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent = r.on })
		r.failOn(errors.New("the log is full"), append(slices.Collect(maps.Values(expect)), vault.KeyCreated, vault.DataCreated, vault.KEKDenied)...)
		s := sampleOf(t, v.Vault, orgA)
		for _, name := range order(callsWith(t, v.Vault, orgA, s)) {
			if err := callsWith(t, v.Vault, orgA, s)[name](); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		v.KEK.SetFault(memkek.Denied)
		_, err := v.Encrypt(t.Context(), orgB, nil, nil)
		wantClass(t, err, "ErrKEKDenied")
		if made, counted := len(r.take()), v.Stats().EventErrors; counted != uint64(made) || made < 20 {
			t.Errorf("%d failures of %d were counted", counted, made)
		}
	}
	// With FailClosed a panic is a failure like another.
	r := &recorder{panics: true}
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed = r.on, true })
	_, err := v.Encrypt(t.Context(), orgA, nil, nil)
	wantClass(t, err, "ErrEvent")
}

// An invalid context is refused before there is an operation.
func TestInvalidContextMakesNoEvent(t *testing.T) {
	v := vaulttest.New(t)
	for _, call := range callsWith(t, v.Vault, vault.KeyContext{"k": ""}) {
		_ = call()
	}
	if e := v.Events(); len(e) != 0 {
		t.Fatalf("%+v", e)
	}
}

func TestListsAreOneEvent(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	for i := range 10 {
		must(v.Put(ctx, orgA, fmt.Sprint(i), nil))(t)
	}
	if n := len(names(t, v.List(ctx, orgA, vault.ListOptions{Limit: 2}))); n != 10 {
		t.Fatal(n)
	}
	for range v.List(ctx, orgA, vault.ListOptions{Limit: 2}) {
		break
	}
	if e := v.Events(vault.NamesListed); len(e) != 2 || e[0].Err != nil {
		t.Fatalf("%+v", e)
	}
	// A later page that fails is told.
	for _, err := range v.List(ctx, orgA, vault.ListOptions{Limit: 2}) {
		if err != nil {
			break
		}
		v.Store.SetFault(func(string) error { return vault.ErrStoreUnavailable })
	}
	if e := v.Events(vault.NamesListed); len(e) != 4 || e[2].Err != nil || !errors.Is(e[3].Err, vault.ErrStoreUnavailable) {
		t.Fatalf("%+v", e)
	}
}

func TestSlogSink(t *testing.T) {
	var b bytes.Buffer
	sink := vault.SlogSink(slog.NewJSONHandler(&b, nil))
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent = sink })
	ctx := vault.WithReason(vault.WithActor(t.Context(), "ann\nforged"), "ticket 7")
	meta := must(v.Put(ctx, orgA, "stripe/api-key", []byte("sk_live_1")))(t)
	_, err := v.Get(ctx, orgA, "absent")
	wantClass(t, err, "ErrNotFound")
	var lines []map[string]any
	for line := range strings.Lines(b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, m)
	}
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), &b)
	}
	created, put, get := lines[0], lines[1], lines[2]
	for k, want := range map[string]any{
		"level": "INFO", "msg": "data.created", "actor": "ann\ufffdforged", "reason": "ticket 7", "object": "stripe/api-key",
		"object_id": meta.ID.String(), "version_id": meta.VersionID.String(), "key_id": meta.KeyID.String(),
		"context_hash": hashIn(t, orgA, "").String(),
	} {
		if put[k] != want {
			t.Errorf("%s is %v, want %v", k, put[k], want)
		}
	}
	if _, ok := put["duration"].(float64); !ok || put["error"] != nil || put["context"] != nil || put["kek"] != nil {
		t.Errorf("%v", put)
	}
	if created["msg"] != "key.created" || get["level"] != "WARN" || get["error"] == nil || get["object_id"] != nil {
		t.Errorf("%v\n%v", created, get)
	}
	if strings.Contains(b.String(), "sk_live_1") || strings.Contains(b.String(), "org_01") {
		t.Errorf("the log shows what it must not: %s", &b)
	}

	// What the handler doesn't want it isn't asked for; its error is the sink's.
	quiet := vault.SlogSink(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelError}))
	b.Reset()
	if err := quiet(ctx, vault.Event{Name: vault.DataRead}); err != nil || b.Len() != 0 {
		t.Errorf("%v, %d bytes", err, b.Len())
	}
	if err := vault.SlogSink(slog.NewJSONHandler(brokenWriter{}, nil))(ctx, vault.Event{Name: vault.DataRead}); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	if err := vault.SlogSink(slog.DiscardHandler)(ctx, vault.Event{}); err != nil {
		t.Error(err)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }
