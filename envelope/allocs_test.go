//go:build !race

package envelope_test

import (
	"testing"

	"github.com/embedvault/vault/envelope"
)

// One HMAC of a pooled state, the AES key schedule and GCM's set-up: what may be
// allocated is the latter two, the bound AEAD and the result.
func TestAllocations(t *testing.T) {
	k := newKey(t)
	plaintext := make([]byte, 64)
	buf := make([]byte, 0, 64+envelope.Overhead)
	sealed := seal(t, k, envelope.KindMessage, plaintext, nil)
	for name, tc := range map[string]struct {
		limit float64
		op    func() ([]byte, error)
	}{
		"seal, fresh":         {5, func() ([]byte, error) { return k.Seal(nil, envelope.KindMessage, nil, plaintext, nil) }},
		"seal, reused buffer": {4, func() ([]byte, error) { return k.Seal(buf, envelope.KindMessage, nil, plaintext, nil) }},
		"open, fresh":         {5, func() ([]byte, error) { return k.Open(nil, parse(t, sealed), nil) }},
		"open, reused buffer": {4, func() ([]byte, error) { return k.Open(buf, parse(t, sealed), nil) }},
	} {
		n := testing.AllocsPerRun(200, func() {
			if _, err := tc.op(); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%s: %v allocations", name, n)
		if n > tc.limit {
			t.Errorf("%s: %v allocations, at most %v are allowed", name, n, tc.limit)
		}
	}
}
