package sqlcore

import (
	"context"
	"fmt"
	"math"

	"github.com/embedvault/vault/storage"
)

// maxEnvelope is the longest envelope that is given to a database, in bytes:
// PostgreSQL takes less than 1 GiB in one message, and some drivers send two
// digits for each byte.
const maxEnvelope = 256 << 20

// checkSizes refuses what the columns don't hold.
func checkSizes(number uint64, envelope int) error {
	if number > math.MaxInt64 {
		return fmt.Errorf("%w: number %d", storage.ErrTooLarge, number)
	}
	if envelope > maxEnvelope {
		return fmt.Errorf("%w: the envelope has %d bytes, at most %d are allowed", storage.ErrTooLarge, envelope, maxEnvelope)
	}
	return nil
}

// put is a put on its way.
type put struct {
	rec    storage.ObjectRecord // as given
	result storage.ObjectRecord // as stored, once it is
	guard  storage.PutGuard
	kc     contextArgs
	labels []byte
}

// PutObject implements [storage.ObjectStore]. In PostgreSQL it is one statement,
// unless another put of the same object comes between, or the name's holder in
// another context has expired: then a transaction. Elsewhere it is a
// transaction of 3 statements (5 for an object in a new context, 1 more where
// older versions are removed).
func (s *Store) PutObject(ctx context.Context, rec storage.ObjectRecord, guard storage.PutGuard) (storage.ObjectRecord, error) {
	op := "put object in context " + rec.ContextHash.Short()
	p, err := newPut(rec, guard)
	if err != nil {
		return storage.ObjectRecord{}, s.fail(ctx, op, err)
	}
	if s.lang.Dialect == PostgreSQL {
		err = s.putPostgres(ctx, op, p)
	} else {
		err = s.objectsTx(ctx, op, func(q Querier) error { return s.putInSteps(ctx, q, p) })
	}
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return p.stored(), nil
}

func newPut(rec storage.ObjectRecord, guard storage.PutGuard) (*put, error) {
	if err := guard.Validate(); err != nil {
		return nil, err
	}
	// For the check only: both are given by the database, and the ID is needed
	// even if it turns out that the object is there.
	rec.Number, rec.CreatedAt = 1, rec.UpdatedAt
	if err := rec.Validate(); err != nil {
		return nil, err
	}
	if err := checkSizes(1, len(rec.Envelope)); err != nil {
		return nil, err
	}
	kc, err := argsOf(rec.Context, rec.ContextHash)
	if err != nil {
		return nil, err
	}
	labels, err := encodeLabels(rec.Labels)
	if err != nil {
		return nil, err
	}
	return &put{rec: rec, guard: guard, kc: kc, labels: labels}, nil
}

// stored is the record as it was stored, without the envelope.
func (p *put) stored() storage.ObjectRecord {
	rec := p.result
	rec.Envelope = nil
	rec = rec.Clone()
	rec.CreatedAt, rec.UpdatedAt = storage.TruncateTime(rec.CreatedAt), storage.TruncateTime(rec.UpdatedAt)
	return rec
}

// uniqueName is the column unique_name for a record.
func uniqueName(rec *storage.ObjectRecord) any {
	if !rec.UniqueName {
		return nil
	}
	return []byte(rec.Name)
}

// envelopeOf is never nil: that would be NULL.
func envelopeOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// A put's outcome.
const (
	putDone      = 0
	putThere     = 1 // IfAbsent
	putOther     = 2 // IfVersion
	putVersionID = 3 // the object has the version ID
	putObjectID  = 4 // another object has the ID
	putName      = 5 // another context holds the unique name
	putMustEvict = 6 // it does, but has expired
	putRaced     = 7 // the object changed after the statement had begun
	putHighest   = 8 // there is no number after the current version's
)

func putError(code int64) error {
	switch code {
	case putDone:
		return nil
	case putThere:
		return fmt.Errorf("%w: the object", storage.ErrExists)
	case putOther:
		return fmt.Errorf("%w: the current version is another, or there is none", storage.ErrVersionConflict)
	case putVersionID:
		return fmt.Errorf("%w: the version ID", storage.ErrExists)
	case putObjectID:
		return fmt.Errorf("%w: the object ID", storage.ErrExists)
	case putName:
		return fmt.Errorf("%w: another context holds the unique name", storage.ErrExists)
	case putHighest:
		return fmt.Errorf("%w: the current version has the highest number there is: delete the object, or import it anew", storage.ErrTooLarge)
	}
	return errRaced
}
