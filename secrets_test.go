package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// net makes secrets and fails the test if one shows in a text. They all begin
// with the same few letters, so that one look at a text finds any of them.
type net struct {
	t      *testing.T
	marker string

	mu       sync.Mutex
	patterns []string
	texts    int
}

func newNet(t *testing.T) *net {
	n := &net{t: t, marker: rand.Text()[:10]}
	n.catch(n.marker)
	return n
}

// secret makes a secret that no text may show.
func (n *net) secret() string { return n.marker + rand.Text() }

// catch makes s a secret too, in all the ways in which it could stand in a text.
func (n *net) catch(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	quoted := strings.Trim(fmt.Sprintf("%v", []byte(s)), "[]")
	n.patterns = append(n.patterns,
		s, hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))), quoted,
		strings.ReplaceAll(quoted, " ", ","), base64.StdEncoding.EncodeToString([]byte(s))[:len(s)/3*4])
}

func (n *net) check(where string, text string) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.texts++
	for _, p := range n.patterns {
		if strings.Contains(text, p) {
			n.t.Errorf("%s shows a secret: %.300s", where, text)
		}
	}
}

func (n *net) checkErr(where string, err error) {
	if err == nil {
		return
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		n.check(where, fmt.Sprintf(verb, err))
	}
	for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
		n.check(where, fmt.Sprintf("%+v %#v", e, e))
	}
}

// No error, whatever the call and whatever goes wrong, shows a plaintext, the
// associated data, a value of the key context or of a label.
func TestNoErrorShowsASecret(t *testing.T) {
	n := newNet(t)
	var log bytes.Buffer
	var logMu sync.Mutex
	sink := vault.SlogSink(slog.NewTextHandler(&lockedWriter{&logMu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	faults := []memkek.Fault{memkek.None, memkek.Denied, memkek.Corrupt, memkek.Garbage}
	storeErr := errors.New("the database is on fire")
	for _, self := range []bool{false, true} {
		for _, fault := range faults {
			for _, failing := range []string{"", "GetKey", "LatestKey", "InsertKey", "PutObject", "GetObject", "GetObjects", "ListObjects", "ListVersions"} {
				v := vaulttest.New(t, func(c *vault.Config) {
					c.SelfContained, c.OnEvent, c.Namespace = self, sink, "ns"
				})
				good := vault.KeyContext{"organization_id": n.secret(), "user_id": n.secret()}
				given := secretSamples(t, n, v.Vault, good)
				v.KEK.SetFault(fault)
				v.Store.SetFault(func(op string) error {
					if op == failing {
						return storeErr
					}
					return nil
				})
				cold := peerOf(t, v, func(c *vault.Config) { c.SelfContained, c.OnEvent, c.Namespace = self, sink, "ns" })
				cold.KEK.SetFault(fault)
				for _, v := range []*vaulttest.Vault{v, cold} {
					secretCalls(t, n, v.Vault, good, given)
				}
			}
		}
	}
	logMu.Lock()
	defer logMu.Unlock()
	n.check("the log", log.String())
	if n.texts < 1000 || log.Len() < 1000 {
		t.Fatalf("%d texts and %d bytes of log: the calls didn't fail", n.texts, log.Len())
	}
}

func secretSamples(t *testing.T, n *net, v *vault.Vault, kc vault.KeyContext) samples {
	t.Helper()
	ctx := t.Context()
	must(v.Put(ctx, kc, "sample", []byte(n.secret()), vault.Labels(map[string]string{"l": n.secret()})))(t)
	key := must(v.CreateDataKey(ctx, kc))(t)
	return samples{
		message: must(v.Encrypt(ctx, kc, []byte(n.secret()), []byte(n.secret())))(t),
		text:    must(v.EncryptString(ctx, kc, n.secret(), []byte(n.secret())))(t),
		dataKey: key.Sealed,
		field:   must(v.SealField(ctx, kc, vault.At("t", "c", 1), n.secret()))(t),
	}
}

func secretCalls(t *testing.T, n *net, v *vault.Vault, good vault.KeyContext, given samples) {
	ctx := t.Context()
	contexts := map[string]vault.KeyContext{
		"good": good, "another": {"organization_id": n.secret()},
		"control": {"organization_id": n.secret() + "\x00"}, "not UTF-8": {"organization_id": n.secret() + "\xff"},
		"too long": {"organization_id": strings.Repeat(n.secret(), 60)},
		"reserved": {"vault:scope": n.secret()}, "bad key": {"k k": n.secret()},
	}
	for name, kc := range contexts {
		for method, call := range callsWith(t, v, kc, given) {
			if method != "Delete" && method != "Put" && method != "Rotate" {
				n.checkErr(method+" "+name, call())
			}
		}
		for method, call := range map[string]func() error{
			"Encrypt": func() error { _, err := v.Encrypt(ctx, kc, []byte(n.secret()), []byte(n.secret())); return err },
			"Decrypt": func() error { _, err := v.Decrypt(ctx, kc, given.message, []byte(n.secret())); return err },
			"Decrypt plain": func() error {
				_, err := v.Decrypt(ctx, kc, []byte(n.secret()), []byte(n.secret()))
				return err
			},
			"DecryptString plain": func() error { _, err := v.DecryptString(ctx, kc, n.secret(), nil); return err },
			"DecryptString bad":   func() error { _, err := v.DecryptString(ctx, kc, "vlt1."+n.secret(), nil); return err },
			"Inspect":             func() error { _, err := vault.Inspect([]byte(n.secret())); return err },
			"Inspect long":        func() error { _, err := vault.Inspect([]byte(strings.Repeat(n.secret(), 10))); return err },
			"Put": func() error {
				_, err := v.Put(ctx, kc, "other", []byte(n.secret()), vault.Labels(map[string]string{"l": n.secret()}), vault.IfVersion(vault.ID{1}))
				return err
			},
			"Put bad label": func() error {
				_, err := v.Put(ctx, kc, "other", []byte(n.secret()), vault.Labels(map[string]string{"l": n.secret() + "\n"}))
				return err
			},
			"Put long label": func() error {
				_, err := v.Put(ctx, kc, "other", nil, vault.Labels(map[string]string{"l": strings.Repeat(n.secret(), 60)}))
				return err
			},
		} {
			n.checkErr(method+" "+name, call())
		}
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// Whatever a result is printed or marshalled with, its secret doesn't show.
func TestResultsPrintNoSecret(t *testing.T) {
	n := newNet(t)
	v := vaulttest.New(t)
	value := n.secret()
	must(v.Put(t.Context(), orgA, "name", []byte(value)))(t)
	obj := must(v.Get(t.Context(), orgA, "name"))(t)
	many := must(v.GetMany(t.Context(), orgA, "name"))(t)
	key := must(v.CreateDataKey(t.Context(), orgA))(t)
	n.catch(string(key.Key))
	kc := vault.KeyContext{"organization_id": n.secret()}
	scope := v.Scope(kc)

	for what, x := range map[string]any{
		"object": obj, "pointer to object": &obj, "objects": []vault.Object{obj}, "many": many,
		"in a struct": struct{ O vault.Object }{obj},
		"data key":    key, "pointer to data key": &key, "data keys": []vault.DataKey{key}, "data key in a struct": struct{ K vault.DataKey }{key},
		"scope": scope, "bad scope": v.Scope(vault.KeyContext{"k": n.secret() + "\x00"}),
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%c", "%U", "%t", "%e", "% x", "%#x", "%10.3v"} {
			n.check(what+" "+verb, fmt.Sprintf(verb, x))
		}
		n.check(what, fmt.Sprint(x))
		n.check(what, fmt.Sprintln(x))
		j, err := json.Marshal(x)
		n.check(what+" json", string(j))
		n.checkErr(what+" json", err)
		x2, err := xml.Marshal(x)
		n.check(what+" xml", string(x2))
		n.checkErr(what+" xml", err)
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "it", x)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "it", x)
		n.check(what+" slog", b.String())
	}
	if _, err := json.Marshal(key); err == nil {
		t.Error("a DataKey is marshalled")
	}
	b, err := json.Marshal(obj)
	if err != nil || !bytes.Contains(b, []byte(`"Name":"name"`)) {
		t.Errorf("an Object's metadata is not marshalled: %s, %v", b, err)
	}
	if s := fmt.Sprint(obj); !strings.Contains(s, "name") {
		t.Errorf("an Object prints as %q", s)
	}
}

// What is stored shows no plaintext and no key.
func TestStoredRecordsShowNoSecret(t *testing.T) {
	n := newNet(t)
	v := vaulttest.New(t)
	ctx := t.Context()
	for i := range 5 {
		must(v.Put(ctx, orgA, fmt.Sprint(i), []byte(n.secret()), vault.ExpiresAt(far)))(t)
	}
	page := must(v.Store.ListObjects(ctx, storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}, WithEnvelope: true}))(t)
	keys := must(v.Store.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{All: true}}))(t)
	if len(page.Objects) != 5 || len(keys.Keys) != 1 {
		t.Fatalf("%d objects, %d keys", len(page.Objects), len(keys.Keys))
	}
	for _, r := range page.Objects {
		n.check("an object's row", fmt.Sprintf("%+v", r)+string(r.Envelope))
	}
}

// Neither the key context's values nor anything secret is in events, unless
// EventContext asks for the pairs.
func TestEventsShowNoSecret(t *testing.T) {
	n := newNet(t)
	run := func(pairs bool) string {
		var b bytes.Buffer
		sink := vault.SlogSink(slog.NewJSONHandler(&b, nil))
		v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.EventContext = sink, pairs })
		kc := vault.KeyContext{"organization_id": "S3" + rand.Text()}
		ctx := vault.WithReason(vault.WithActor(context.Background(), "ann"), "ticket 7")
		value := n.secret()
		aad := n.secret()
		sealed := must(v.Encrypt(ctx, kc, []byte(value), []byte(aad)))(t)
		must(v.Decrypt(ctx, kc, sealed, []byte(aad)))(t)
		must(v.Put(ctx, kc, "name", []byte(value), vault.Labels(map[string]string{"l": n.secret()})))(t)
		must(v.Get(ctx, kc, "name"))(t)
		key := must(v.CreateDataKey(ctx, kc))(t)
		n.catch(string(key.Key))
		must(v.DecryptDataKey(ctx, kc, key.Sealed))(t)
		_, err := v.Decrypt(ctx, kc, sealed, []byte(n.secret()))
		n.checkErr("Decrypt", err)
		v.KEK.SetFault(memkek.Denied)
		_, err = v.Encrypt(ctx, orgB, []byte(value), nil)
		n.checkErr("Encrypt", err)
		for _, e := range v.Events() {
			n.check("an event", fmt.Sprintf("%+v %#v", e, e))
		}
		n.check("the log", b.String())
		shown := strings.Contains(b.String(), slices.Collect(maps.Values(kc))[0])
		if shown != pairs {
			t.Errorf("EventContext %v: the log shows the context's values: %v", pairs, shown)
		}
		return b.String()
	}
	run(false)
	log := run(true)
	for _, want := range []string{`"msg":"message.encrypted"`, `"msg":"data.created"`, `"msg":"kek.denied"`, `"actor":"ann"`, `"reason":"ticket 7"`, `"object":"name"`, `"level":"WARN"`, `"context":{"organization_id":"S3`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}
