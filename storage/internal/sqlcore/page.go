package sqlcore

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// Lists over contexts are in the order (context hash, …) and are read in
// pieces, each of which is a range of an index:
//
//   - what is left of the context in which the last page ended,
//   - then either all contexts after it at once, where nothing but the order is
//     asked for,
//   - or the contexts after it, some at a time: their hashes from contexts or
//     context_pairs, and then the rows of these.
//
// So a page costs the same wherever it is, in every engine, also where it
// doesn't use an index for (a, b) > (x, y).
//
// A cursor may be made up. The context that it names is read only if the filter
// selects it, and what the page is doesn't depend on rows that it doesn't.

// contextChunk is how many contexts are looked at together at most.
const contextChunk = 200

// walk is a list on its way.
type walk struct {
	s      *Store
	filter storage.ContextFilter
	down   bool
	want   int // rows, one more than a page has; some more may be read

	// from and order make the statement: what comes before the conditions, and
	// what after them.
	from  string
	hash  string // the column with the context hash
	order string

	// where adds the conditions that hold in every context.
	where func(b *builder)
	// after adds the condition for being after the last page, in its context.
	after func(b *builder)
	// row reads a row and reports whether it is one of the list.
	row func(scan func(...any) error) error
	// rows is how many have been read.
	rows func() int

	pair      int          // of the match: the one that the fewest contexts have
	last      *keyctx.Hash // where the last page ended
	inContext bool         // rows are selected by context in every piece
}

func (w *walk) dir() string {
	if w.down {
		return " DESC"
	}
	return ""
}

func (w *walk) beyond() string {
	if w.down {
		return " < "
	}
	return " > "
}

// run reads up to want rows.
func (w *walk) run(ctx context.Context, q Querier) error {
	f := w.filter
	if f.Hash != (keyctx.Hash{}) {
		return w.piece(ctx, q, w.last != nil, func(b *builder) { b.add(w.hash+" = {bytes}", f.Hash[:]) })
	}
	if w.last != nil {
		err := w.piece(ctx, q, true, func(b *builder) {
			b.add(w.hash+" = {bytes}", w.last[:])
			selected(b, w.filter, "{bytes}", w.last[:])
		})
		if err != nil || w.rows() >= w.want {
			return err
		}
	}
	if !w.inContext {
		return w.rest(ctx, q)
	}
	if len(f.Match) > 1 {
		if err := w.choosePair(ctx, q); err != nil {
			return err
		}
	}
	for from := w.last; ; {
		hashes, err := w.contexts(ctx, q, from)
		if err != nil || len(hashes) == 0 {
			return err
		}
		if err := w.piece(ctx, q, false, func(b *builder) { b.in(w.hash, hashes) }); err != nil || w.rows() >= w.want {
			return err
		}
		from = (*keyctx.Hash)(hashes[len(hashes)-1])
	}
}

// rest reads from all contexts after the last page's.
func (w *walk) rest(ctx context.Context, q Querier) error {
	return w.piece(ctx, q, false, func(b *builder) {
		if w.last == nil {
			b.add(w.hash+" >= {bytes}", []byte{})
			return
		}
		b.add(w.hash+w.beyond()+"{bytes}", w.last[:])
	})
}

// piece reads the rows of the contexts that which selects, as far as they are
// wanted.
func (w *walk) piece(ctx context.Context, q Querier, after bool, which func(*builder)) error {
	b := builder{lang: w.s.lang}
	b.add(w.from + " WHERE ")
	which(&b)
	w.where(&b)
	if after {
		w.after(&b)
	}
	b.add(fmt.Sprintf(" ORDER BY %s LIMIT %d", w.order, w.some(w.want)))
	return b.query(ctx, q, w.row)
}

// some is how many rows to ask for, at most most: no fewer than are still
// wanted, and one of few numbers, since each makes a statement of its own that
// drivers keep prepared.
func (w *walk) some(most int) int {
	n := most
	for n > 1 && n/2 >= w.want-w.rows() {
		n /= 2
	}
	return n
}

// contexts returns the hashes of the next contexts that the filter selects.
func (w *walk) contexts(ctx context.Context, q Querier, from *keyctx.Hash) (out [][]byte, err error) {
	b := builder{lang: w.s.lang}
	f := w.filter
	if len(f.Match) > 0 {
		w.matching(&b)
	} else {
		b.add("SELECT p.context_hash FROM {contexts} p WHERE ")
		if f.AnyNamespace {
			b.add("p.context_hash >= {bytes}", []byte{})
		} else {
			b.add("p.namespace = {bytes}", []byte(f.Namespace))
		}
	}
	if from != nil {
		b.add(" AND p.context_hash"+w.beyond()+"{bytes}", from[:])
	}
	b.add(fmt.Sprintf(" ORDER BY p.context_hash%s LIMIT %d", w.dir(), w.some(min(w.want, contextChunk))))
	err = b.query(ctx, q, func(scan func(...any) error) error {
		var hash []byte
		err := scan(&hash)
		h := padded(hash)
		out = append(out, h[:])
		return err
	})
	return out, err
}

// matching selects the contexts that contain all pairs of a match: those that
// have the first one, in order, if they have the others.
func (w *walk) matching(b *builder) {
	f := w.filter
	keys := slices.Sorted(maps.Keys(f.Match))
	first := keys[w.pair]
	b.add("SELECT p.context_hash FROM {context_pairs} p WHERE p.pair_key = {text} AND p.pair_value = {bytes}", first, []byte(f.Match[first]))
	if !f.AnyNamespace {
		b.add(" AND p.namespace = {bytes}", []byte(f.Namespace))
	}
	for _, k := range keys {
		if k != first {
			hasPair(b, k, f.Match[k])
		}
	}
}

// choosePair finds out which pair of a match the fewest contexts have. Counting
// ends at fewPairs.
func (w *walk) choosePair(ctx context.Context, q Querier) error {
	const fewPairs = 1000
	b := builder{lang: w.s.lang}
	keys := slices.Sorted(maps.Keys(w.filter.Match))
	counts, dest := make([]int64, len(keys)), make([]any, len(keys))
	b.add("SELECT ")
	for i, k := range keys {
		if i > 0 {
			b.add(", ")
		}
		b.add("(SELECT count(*) FROM (SELECT 1 FROM {context_pairs} p WHERE p.pair_key = {text} AND p.pair_value = {bytes}", k, []byte(w.filter.Match[k]))
		if !w.filter.AnyNamespace {
			b.add(" AND p.namespace = {bytes}", []byte(w.filter.Namespace))
		}
		b.add(fmt.Sprintf(" ORDER BY p.context_hash LIMIT %d) n)", fewPairs))
		dest[i] = &counts[i]
	}
	err := b.query(ctx, q, func(scan func(...any) error) error { return scan(dest...) })
	w.pair = slices.Index(counts, slices.Min(counts))
	return err
}

// hasPair adds that a context of p has another pair. It counts, to 1: what only
// asks whether there is one may be turned into a join, which comes first, and
// the list is sorted.
func hasPair(b *builder, key, value string) {
	b.add(" AND (SELECT count(*) FROM {context_pairs} x WHERE x.pair_key = {text} AND x.pair_value = {bytes}", key, []byte(value))
	b.add(" AND x.namespace = p.namespace AND x.context_hash = p.context_hash) = 1")
}

// later adds that (column, id) comes after a place in the list. PostgreSQL and
// SQLite use an index for the pair, MySQL for the words.
func later(b *builder, op, first, second, kind2 string, kind1 string, v1, v2 any) {
	if b.Dialect == MySQL {
		b.add(" AND ("+first+op+"{"+kind1+"} OR ("+first+" = {"+kind1+"} AND "+second+op+"{"+kind2+"}))", v1, v1, v2)
		return
	}
	b.add(" AND ("+first+", "+second+")"+op+"({"+kind1+"}, {"+kind2+"})", v1, v2)
}

// position of a row in a list by time: 32 bytes context hash, 8 bytes time with
// the sign bit turned, 16 bytes object ID.
func timePosition(r *storage.ObjectRecord) []byte {
	b := append([]byte(nil), r.ContextHash[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.UpdatedAt.UnixMicro())^1<<63)
	return append(b, r.ID[:]...)
}

// positionTime reads the time off a position, after the hash.
func positionTime(pos []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(pos) ^ 1<<63)).UTC()
}

// isObjectPosition reports whether a row may have the position. One that is made
// up must not have the database refuse a parameter.
func isObjectPosition(order storage.Order, pos []byte) bool {
	if order != storage.OrderByUpdated {
		return len(pos) > hashLen && len(pos) <= hashLen+storage.MaxNameLen
	}
	if len(pos) != hashLen+24 {
		return false
	}
	y := positionTime(pos[hashLen:]).Year()
	return y >= 1 && y <= 9999
}

func badPosition() error {
	return fmt.Errorf("%w: its position", storage.ErrInvalidCursor)
}

// notExpired adds that a row's object, or version, hasn't expired.
func notExpired(b *builder, row string, now time.Time) {
	if now.IsZero() {
		return
	}
	b.add(" AND ("+row+".expires_at IS NULL OR "+row+".expires_at > {time})", b.time(now))
}
