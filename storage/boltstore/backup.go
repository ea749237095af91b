package boltstore

import (
	"context"
	"fmt"
	"io"

	"go.etcd.io/bbolt"
)

// Backup writes a copy of the whole store to w, as it is at one moment, while
// other operations go on. What it writes is a file that [Open] opens. It holds
// keys only wrapped and values only sealed.
//
// While it runs the file can't reuse space, and a write that makes the file
// outgrow its memory map waits until it has ended: write to a file, not to a
// slow network. It ends when ctx does. Its error is w's own, wrapped, if w
// failed; what was written then is of no use.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	err := ctx.Err()
	if err == nil {
		err = s.guarded(func(btx *bbolt.Tx) error {
			_, err := btx.WriteTo(&ctxWriter{ctx, w})
			return boltError(err)
		})
	}
	if err != nil {
		return fmt.Errorf("boltstore: back up %s: %w", s.path, err)
	}
	return nil
}

// ctxWriter fails when ctx has ended.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w *ctxWriter) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(b)
}
