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
// While it runs the file can't reuse space. And should the file outgrow its
// memory map meanwhile (4 GiB, or twice its size when it was opened; on 32 bits
// and on Windows much less), all other operations wait until the backup has
// ended. So write to a file, not to a slow network, and don't use the store in
// w. It ends when ctx does. Its error is w's own, wrapped, if w failed; what
// was written then is of no use.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	err := ctx.Err()
	if err == nil {
		err = s.guarded(func(btx *bbolt.Tx) error {
			cw := &ctxWriter{ctx: ctx, w: w}
			_, err := btx.WriteTo(cw)
			if cw.err != nil {
				return cw.err // bbolt doesn't always wrap it
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("boltstore: back up %s: %w", s.path, err)
	}
	return nil
}

// ctxWriter fails when ctx has ended, and keeps the error with which it failed.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
	err error
}

func (w *ctxWriter) Write(b []byte) (n int, err error) {
	if err = w.ctx.Err(); err == nil {
		n, err = w.w.Write(b)
	}
	if err != nil {
		w.err = err
	}
	return n, err
}
