package vault_test

import (
	"context"
	"errors"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// stopAfterParent ends a ctx once a wrapping key was written.
type stopAfterParent struct {
	storage.Store
	stop context.CancelFunc
}

func (s *stopAfterParent) UpdateKey(ctx context.Context, r storage.KeyRecord) error {
	err := s.Store.UpdateKey(ctx, r)
	if r.Purpose == keyctx.PurposeWrapping && s.stop != nil {
		s.stop()
	}
	return err
}

// A parent was shredded or disabled, and then the call was stopped: the process that
// did it doesn't go on serving what is under it.
func TestChildrenOfAStoppedParentAreForgotten(t *testing.T) {
	for name, want := range map[string]error{"Shred": vault.ErrKeyShredded, "Disable": vault.ErrKeyDisabled} {
		t.Run(name, func(t *testing.T) {
			k, s := memkek.New("test"), memstore.New()
			cfg := family(t, k, s)
			hs := &stopAfterParent{Store: s}
			cfg.Store = hs
			v := open(t, cfg)
			sealed := must(v.Encrypt(t.Context(), userA, []byte("secret"), nil))(t)
			other := must(v.Encrypt(t.Context(), userOf(orgB, 1), nil, nil))(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			hs.stop = cancel
			var err error
			if name == "Shred" {
				_, err = v.Shred(ctx, orgA, vault.ShredOptions{})
			} else {
				_, err = v.Disable(ctx, orgA)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("stopped: %v", err)
			}
			if _, err := v.Decrypt(t.Context(), userA, sealed, nil); !errors.Is(err, want) {
				t.Errorf("the child: %v", err)
			}
			hs.stop = nil
			if got, err := v.Encrypt(t.Context(), userA, []byte("x"), nil); err == nil {
				must(open(t, family(t, k, s)).Decrypt(t.Context(), userA, got, nil))(t)
			}
			unwraps := k.Unwraps()
			must(v.Decrypt(t.Context(), userOf(orgB, 1), other, nil))(t)
			if k.Unwraps() != unwraps {
				t.Error("another family was forgotten too")
			}
		})
	}
}
