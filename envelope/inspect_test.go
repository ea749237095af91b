package envelope_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
)

func TestInspect(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		plaintext := plaintextFor(kind)
		b := seal(t, k, kind, plaintext, nil)
		want := envelope.Info{
			Version: 0xE1, Kind: kind, KeyID: k.ID(),
			Size: len(b), PlaintextSize: len(plaintext), Overhead: len(b) - len(plaintext),
		}
		if kind.SelfContained() {
			want.KeyVersion, want.Quorum, want.KEKs = 3, keyctx.AllOf, []string{"a:1", "b:2"}
		}
		got, err := envelope.Inspect(b)
		noError(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v:\n got  %+v\n want %+v", kind, got, want)
		}
		for n := range 86 {
			_, err := envelope.Inspect(b[:n])
			wantErr(t, err, envelope.ErrMalformed)
		}
		if kind.Reference() != envelope.KindStream {
			continue
		}
		// Chunks may follow a stream's header; a header that is not whole is none.
		got, err = envelope.Inspect(append(b[:len(b):len(b)], "chunks"...))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v and chunks: %+v, %v", kind, got, err)
		}
		_, err = envelope.Inspect(b[:len(b)-1])
		wantErr(t, err, envelope.ErrMalformed)
	}
}

func TestKinds(t *testing.T) {
	names := map[string]bool{}
	for n := range 256 {
		k := envelope.Kind(n)
		if k.Valid() != (n >= 1 && n <= 10) {
			t.Errorf("kind %d: valid is %v", n, k.Valid())
		}
		if !k.Valid() {
			if k.String() != fmt.Sprintf("kind(%d)", n) {
				t.Errorf("kind %d is called %v", n, k)
			}
			continue
		}
		if names[k.String()] {
			t.Errorf("two kinds are called %v", k)
		}
		names[k.String()] = true
		if k.SelfContained() != (n%2 == 0) || k.Reference() != envelope.Kind((n-1)/2*2+1) || k.Self() != envelope.Kind((n+1)/2*2) {
			t.Errorf("kind %d: %v, %d, %d", n, k.SelfContained(), k.Reference(), k.Self())
		}
	}
}
