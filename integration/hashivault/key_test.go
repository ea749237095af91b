package hashivault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/hashicorp/vault/api"
)

// New takes no key that can't be a KEK, and makes none.
func TestNewRefuses(t *testing.T) {
	s := start(t)
	s.policy(t, "all", "transit/* create,read,update")
	client := s.client(s.token(t, time.Hour, false, "all"))
	for name, properties := range map[string]map[string]any{
		"missing":    nil,
		"convergent": {"derived": true, "convergent_encryption": true},
		"rsa":        {"type": "rsa-2048"},
		"signing":    {"type": "ed25519", "derived": true},
		"hmac":       {"type": "hmac", "key_size": 32},
	} {
		if properties != nil {
			s.write(t, "transit/keys/"+name, properties)
		}
		_, err := hashivault.New(t.Context(), client, name, hashivault.Options{})
		wantClass(t, name, err, kek.ErrDenied)
	}
	if s.exists(t, "transit/keys/missing") {
		t.Error("New made a key")
	}
}

// No method makes a key that was deleted, even by a token that may do all.
func TestNoKeyIsEverMade(t *testing.T) {
	for _, derived := range []bool{true, false} {
		s := start(t)
		k, client := newKEK(t, s, derived)
		key, b := newKey(), binding("org")
		wrapped, err := k.Wrap(t.Context(), key, b)
		ok(t, err)
		deleteKey(t, s)
		for _, who := range []string{"app", "maker", "root"} {
			s.policy(t, "maker", "transit/* create,read,update")
			switch who {
			case "maker":
				client.SetToken(s.token(t, time.Hour, false, "maker"))
			case "root":
				client.SetToken(s.root)
			}
			for op, call := range operations(k, key, wrapped, b) {
				wantClass(t, who+": "+op, call(t.Context()), kek.ErrDenied)
			}
			if s.exists(t, "transit/keys/root") {
				t.Fatalf("%s: a key was made", who)
			}
		}
	}
}

// A key that is made anew as another kind binds nothing that the old one bound,
// and wraps nothing.
func TestRecreatedAsAnotherKind(t *testing.T) {
	s := start(t)
	b := binding("org")
	for was, is := range map[bool]map[string]any{true: {}, false: {"derived": true}} {
		k, _ := newKEK(t, s, was)
		deleteKey(t, s)
		s.write(t, "transit/keys/root", is)
		_, err := k.Wrap(t.Context(), newKey(), b)
		wantClass(t, "Wrap", err, kek.ErrDenied)
		if status, err := k.Check(t.Context()); err != nil || status.Usable || status.Reason == "" {
			t.Errorf("Check: %+v, %v", status, err)
		}
		deleteKey(t, s)
	}
}

// Six hundred keys, some of them bad, and rewrapped after a rotation.
func TestBatch(t *testing.T) {
	for _, derived := range []bool{true, false} {
		s := start(t)
		k, _ := newKEK(t, s, derived)
		const n = 600
		keys, items := make([][]byte, n), make([]kek.BatchItem, n)
		for i := range n {
			keys[i] = newKey()
			items[i].Binding = binding(fmt.Sprint("org-", i))
			var err error
			items[i].Wrapped, err = k.Wrap(t.Context(), keys[i], items[i].Binding)
			ok(t, err)
			if i%50 == 7 {
				items[i].Binding.Version++
			}
		}
		s.write(t, "transit/keys/root/rotate", nil)
		check := func(results []kek.BatchResult) {
			t.Helper()
			for i, r := range results {
				if i%50 == 7 {
					wantClass(t, fmt.Sprint("bad item ", i), r.Err, kek.ErrCorrupt)
				} else if r.Err != nil || !bytes.Equal(r.Bytes, keys[i]) {
					t.Fatalf("item %d: %v", i, r.Err)
				}
			}
		}
		check(k.UnwrapBatch(t.Context(), items))
		for i, r := range k.RewrapBatch(t.Context(), items) {
			if r.Err == nil && k.WrappedVersion(r.Bytes) != "2" {
				t.Fatalf("item %d was not rewrapped", i)
			}
			items[i].Wrapped = r.Bytes
		}
		s.write(t, "transit/keys/root/config", map[string]any{"min_decryption_version": 2})
		check(k.UnwrapBatch(t.Context(), items))
	}
}

func TestCheck(t *testing.T) {
	s := start(t)
	k, _ := newKEK(t, s, true)
	s.write(t, "transit/keys/root/rotate", nil)
	s.write(t, "transit/keys/root/config", map[string]any{"auto_rotate_period": "720h"})
	status, err := k.Check(t.Context())
	if want := (kek.Status{Usable: true, PrimaryVersion: "2", Rotates: true}); err != nil || status != want {
		t.Errorf("got %+v, %v", status, err)
	}
}

// What the audit log shows: who, which key, which path; the binding only as an
// HMAC, and never a key.
func TestAuditLog(t *testing.T) {
	s := start(t)
	path := filepath.Join(t.TempDir(), "audit.log")
	ok(t, s.client(s.root).Sys().EnableAuditWithOptionsWithContext(t.Context(), "file", &api.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": path},
	}))
	k, _ := newKEK(t, s, true)
	key, b := newKey(), binding("org")
	wrapped, err := k.Wrap(t.Context(), key, b)
	ok(t, err)
	_, err = k.Unwrap(t.Context(), wrapped, b)
	ok(t, err)
	log, err := os.ReadFile(path)
	ok(t, err)
	var seen []string
	for _, line := range strings.Split(strings.TrimSpace(string(log)), "\n") {
		var e struct {
			Type string
			Auth struct {
				Policies []string
				Accessor string
			}
			Request struct {
				Operation, Path string
				Data            map[string]any
			}
		}
		ok(t, json.Unmarshal([]byte(line), &e))
		if e.Type != "request" || !strings.HasSuffix(e.Request.Path, "crypt/root") {
			continue
		}
		seen = append(seen, e.Request.Operation+" "+e.Request.Path+" "+strings.Join(e.Auth.Policies, ","))
		if context, _ := e.Request.Data["context"].(string); !strings.HasPrefix(context, "hmac-sha256:") {
			t.Errorf("the context is %q", context)
		}
	}
	if got, want := strings.Join(seen, "; "), "update transit/encrypt/root app,default; update transit/decrypt/root app,default"; got != want {
		t.Errorf("the log shows %s", got)
	}
}
