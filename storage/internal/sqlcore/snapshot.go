package sqlcore

import (
	"context"
	"errors"
	"strings"
)

// In MySQL at REPEATABLE READ, its default, a transaction of the application's
// reads as of its first SELECT, save where a read locks, and what it wrote
// itself. A context that was added beside it since then, with its first key, is
// hidden from it, and objects of the context may not be: the transaction has put
// them, or a locking read has found them.

// errNoContext says that an object's context isn't there, or is hidden.
var errNoContext = errors.New("the context is missing")

// unhidden runs f in the application's transaction, and once more if a context
// is hidden from it: then all contexts of objects are read as they are now. They
// never change, so that the lock this takes is in nobody's way.
func (s *Store) unhidden(tx Querier, f func(Querier) error) error {
	err := f(tx)
	if s.lang.Dialect != MySQL || !errors.Is(err, errNoContext) {
		return err
	}
	return f(nowQuerier{tx, "(" + s.st.objectContext.text + ")", "(" + s.st.objectContext.text + s.lang.newest() + ")"})
}

// certain says whether a context that q doesn't find isn't there.
func (s *Store) certain(ctx context.Context, q Querier) bool {
	_, now := q.(nowQuerier)
	return now || s.lang.Dialect != MySQL || s.db.Joined(ctx) == nil
}

// nowQuerier reads the contexts of objects with a lock.
type nowQuerier struct {
	Querier
	hidden, now string // the subquery
}

// Query implements [Querier].
func (q nowQuerier) Query(ctx context.Context, each func(scan func(dest ...any) error) error, query string, args ...any) error {
	return q.Querier.Query(ctx, each, strings.ReplaceAll(query, q.hidden, q.now), args...)
}
