package sqlcore

import (
	"context"
	"maps"
	"slices"

	"github.com/embedvault/vault/keyctx"
)

// contextArgs are a context's parameters.
type contextArgs struct {
	hash, namespace, canonical []byte
	keys                       []string
	values                     [][]byte
}

func argsOf(kc keyctx.KeyContext, hash keyctx.Hash) (a contextArgs, err error) {
	a.hash, a.namespace = hash[:], []byte(kc.Namespace())
	if a.canonical, err = kc.AppendCanonical(nil); err != nil {
		return a, err
	}
	for _, k := range slices.Sorted(maps.Keys(kc)) {
		a.keys = append(a.keys, k)
		a.values = append(a.values, []byte(kc[k]))
	}
	return a, nil
}

// addContext adds a context with its pairs, unless it is there: rows of
// contexts are never removed. For dialects without statements that do it all.
func (s *Store) addContext(ctx context.Context, q Querier, a contextArgs) error {
	fresh, err := s.insert(ctx, q, s.st.addContext, a.hash, a.namespace, a.canonical)
	if err != nil || !fresh {
		return err
	}
	b := builder{lang: s.lang}
	b.add("INSERT INTO {context_pairs} (pair_key, pair_value, namespace, context_hash) VALUES ")
	for i := range a.keys {
		if i > 0 {
			b.add(", ")
		}
		b.add("({text}, {bytes}, {bytes}, {bytes})", a.keys[i], a.values[i], a.namespace, a.hash)
	}
	_, err = q.Exec(ctx, b.text.String(), b.bind...)
	return err
}

func (s *Store) contextThere(ctx context.Context, q Querier, hash []byte) (bool, error) {
	var one int64
	return s.st.contextThere.row(ctx, q, []any{&one}, hash)
}
