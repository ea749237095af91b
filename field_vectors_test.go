package vault_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// fieldVar is a variable of a type that wants a codec.
func fieldVar(codec uint8) any {
	return map[uint8]any{1: new(string), 2: new([]byte), 3: new(int64), 4: new(uint64), 5: new(float64), 6: new(bool), 7: new(time.Time), 8: new(any)}[codec]
}

// atRow is a vector's location.
func atRow(v vectors.Field) vault.Location {
	if len(v.Row) == 0 {
		return vault.AtColumn(v.Table, v.Column)
	}
	row := make([]any, len(v.Row))
	for i, id := range v.Row {
		row[i] = []byte(id)
	}
	return vault.At(v.Table, v.Column, row...)
}

func fieldOpeners(ctx context.Context, v vectors.Field) map[string]opener {
	at := atRow(v)
	whole := func(dst any) ([]byte, error) {
		codec, value, err := vault.EncodeField(dst)
		hash := vault.LocationHash(at)
		return append(append([]byte{1, codec}, hash[:]...), value...), err
	}
	return map[string]opener{
		"OpenField": func(vlt *vault.Vault, kc vault.KeyContext, d, _ []byte) ([]byte, error) {
			dst := fieldVar(v.WantedCodec)
			if err := vlt.OpenField(ctx, kc, at, d, dst); err != nil {
				return nil, err
			}
			return whole(dst)
		},
		"Encrypted": func(vlt *vault.Vault, kc vault.KeyContext, d, _ []byte) ([]byte, error) {
			ctx := vault.WithKeyContext(vault.WithVault(ctx, vlt), kc)
			switch v.WantedCodec {
			case 1:
				s, err := vault.SealedBytes[string](d).AtLocation(at).Open(ctx)
				if err != nil {
					return nil, err
				}
				return whole(&s)
			case 3:
				e := vault.SealedBytes[int64](d)
				e.BindField(ctx, vault.FieldBinding{Location: at})
				if err := vault.OpenAll(context.Background(), &e); err != nil {
					return nil, err
				}
				n, err := e.Open(ctx)
				if err != nil {
					return nil, err
				}
				return whole(&n)
			}
			dst := fieldVar(v.WantedCodec)
			if err := vlt.Scope(kc).OpenField(ctx, at, d, dst); err != nil {
				return nil, err
			}
			return whole(dst)
		},
	}
}

func TestVectorsOfFields(t *testing.T) {
	for _, v := range readVectors[vectors.Field](t, vectors.FieldFile) {
		t.Run(v.Name, func(t *testing.T) {
			w := newVectorWorld(t, v.Sealed)
			w.run(t, v.Sealed, v.Result, fieldOpeners(t.Context(), v))
			w.inspect(t, v.Sealed)
			if hash := vault.LocationHash(atRow(v)); !bytes.Equal(hash[:], v.LocationHash) {
				t.Errorf("location hash %x", hash)
			}
		})
	}
}

func TestVectorsOfBlindIndexes(t *testing.T) {
	for _, v := range readVectors[vectors.BlindIndex](t, vectors.BlindIndexFile) {
		t.Run(v.Name, func(t *testing.T) {
			full := vault.KeyContext(v.Context)
			store := memstore.New()
			ok(t, store.InsertKey(t.Context(), storage.KeyRecord{
				KeyID: keyctx.KeyID(v.KeyID), Context: full, ContextHash: keyctx.Hash(v.ContextHash), Purpose: keyctx.Purpose(v.Purpose), Version: v.Version,
				State: storage.StateActive, Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: knownURI, Wrapped: []byte{1}}},
				CreatedAt: time.Now(), StateChangedAt: time.Now(),
			}))
			vlt := open(t, vault.Config{Policy: kek.Fixed(knownKEK{knownURI, v.ContextKey}), Store: store, Namespace: full.Namespace(), NoBackground: true})
			ix := vault.Index{Table: v.Table, Bits: v.Bits, Global: full["vault:scope"] == "global"}
			if g := full["vault:index"]; g != "" {
				ix.Generation = uint32(g[0] - '0')
			}
			kc := vault.KeyContext{}
			for k, x := range full {
				if !keyctx.IsReserved(k) {
					kc[k] = x
				}
			}
			var values []any
			for i, p := range v.Parts {
				if i == 0 {
					ix.Column, ix.Normaliser = p.Column, p.Normaliser
				} else {
					ix.And = append(ix.And, vault.IndexPart{Column: p.Column, Normaliser: p.Normaliser})
				}
				values = append(values, []byte(p.Value))
			}
			for how, compute := range map[string]func(context.Context, vault.KeyContext, vault.Index, ...any) ([]byte, error){"write": vlt.BlindIndex, "query": vlt.BlindIndexQuery} {
				got, err := compute(t.Context(), kc, ix, values...)
				if v.Result == vectors.NotIndexable {
					wantClass(t, err, "ErrNotIndexable")
				} else if err != nil || !bytes.Equal(got, v.Index) {
					t.Errorf("%s: %x, %v; want %x", how, got, err, v.Index)
				}
			}
		})
	}
}
