package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/embedvault/vault/storage"
)

// errNotOurs is matched when the destination holds something that is not of the
// source.
var errNotOurs = errors.New("the destination holds something else: give it an empty one")

// move copies everything from src to dst, and looks whether it is there. Nothing may
// write to src meanwhile, and nothing to dst before it is done: docs/OPERATIONS.md
// says how to have most of it done while the application still runs.
func move(ctx context.Context, dst, src storage.Store, out io.Writer) error {
	if err := onlyOurs(ctx, dst, src); err != nil {
		return err
	}
	report, err := storage.Copy(ctx, dst, src, storage.CopyOptions{
		Progress: func(r storage.CopyReport) {
			fmt.Fprintf(out, "  %d keys and %d versions looked at, %d and %d of them copied\n", r.Keys, r.Versions, r.KeysCopied, r.VersionsCopied)
		},
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "copied: %d keys, %d versions, %d bytes\n", report.KeysCopied, report.VersionsCopied, report.BytesCopied)
	report, err = storage.Copy(ctx, dst, src, storage.CopyOptions{VerifyOnly: true})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "verified: %d keys, %d objects, %d versions\n", report.Keys, report.Objects, report.Versions)
	return nil
}

// onlyOurs fails if dst holds anything that src doesn't. [storage.Copy] overwrites
// nothing and refuses what is in the way; what lies beside is not its business. Here
// it is: a database that others use, or one on which the vault has been working
// since, was not what was meant.
func onlyOurs(ctx context.Context, dst, src storage.Store) error {
	r, err := storage.Copy(ctx, dst, src, storage.CopyOptions{VerifyOnly: true})
	if err != nil && !errors.Is(err, storage.ErrCopyDiffers) { // something is missing: it is going to be copied
		return err
	}
	if r.KeysDifferent+r.VersionsDifferent+r.ExtraKeys+r.ExtraObjects+r.ExtraVersions == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d keys and %d versions are not the source's, %d keys and %d objects are not in the source",
		errNotOurs, r.KeysDifferent, r.VersionsDifferent+r.ExtraVersions, r.ExtraKeys, r.ExtraObjects)
}
