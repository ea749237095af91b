package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault/storage"
)

type copyOut struct {
	Keys               int64 `json:"keys"`
	Objects            int64 `json:"objects"`
	Versions           int64 `json:"versions"`
	KeysCopied         int64 `json:"keys_copied"`
	VersionsCopied     int64 `json:"versions_copied"`
	KeysUpdated        int64 `json:"keys_updated"`
	VersionsUpdated    int64 `json:"versions_updated"`
	BytesCopied        int64 `json:"bytes_copied"`
	VersionsWithoutKey int64 `json:"versions_without_key"`
	ExtraVersions      int64 `json:"extra_versions"`
	KeysMissing        int64 `json:"keys_missing"`
	VersionsMissing    int64 `json:"versions_missing"`
	KeysDifferent      int64 `json:"keys_different"`
	VersionsDifferent  int64 `json:"versions_different"`
	ExtraKeys          int64 `json:"extra_keys"`
	ExtraObjects       int64 `json:"extra_objects"`
	VerifyOnly         bool  `json:"verify_only"`
	Changed            bool  `json:"changed"`
}

func (a *app) copyCommand() *cobra.Command {
	var to string
	var o storage.CopyOptions
	c := &cobra.Command{
		Use:   "copy --to URL [PAIR…]",
		Short: "Copy keys and objects to another store, and verify the copy",
		Long: `Copies all keys and objects of all namespaces, or with pairs those of the contexts of
--namespace that contain them, from --store to --to. Everything that is written is read
back and compared; what is there already and the same is left; what is there and
different is an error, or with --update brought up to date. Nothing is decrypted and no
KEK is needed. Interrupted, it goes on when it is run again.

docs/OPERATIONS.md, "Moving to another database", says how to do it without a stop of the
application. Finish rewraps and shreddings first: their notes are not copied.`,
		Example: "  vaultctl migrate --store postgres://…\n  vaultctl copy --store bolt:vault.db --to postgres://…\n  vaultctl copy --store bolt:vault.db --to postgres://… --verify-only",
	}
	f := c.Flags()
	f.StringVar(&to, "to", "", "the `URL` of the store to copy to (VAULTCTL_TO)")
	f.BoolVar(&o.Update, "update", false, "bring up to date what an earlier copy has written")
	f.BoolVar(&o.VerifyOnly, "verify-only", false, "compare, and write nothing")
	f.IntVar(&o.Workers, "workers", 0, "records at a time; default 8")
	return a.command(c, func(ctx context.Context, args []string) (err error) {
		match, err := pairs(args)
		if err != nil {
			return err
		}
		if len(match) > 0 {
			o.Contexts = storage.ContextFilter{Match: match, Namespace: a.namespace()}
		}
		target := a.either(to, "VAULTCTL_TO")
		if target == "" {
			return usage("say where to: --to, or VAULTCTL_TO")
		}
		if sameStore(a.either(a.flags.store, "VAULTCTL_STORE"), target) {
			return usage("the store to copy to is the store to copy from")
		}
		src, err := a.mainStore(reading)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, src.close()) }()
		dst, err := a.destination(ctx, target, o.VerifyOnly)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, dst.close()) }()
		return a.copy(ctx, dst, src, o)
	})
}

// sameStore reports whether two URLs are one, or name one file. The same tables of a
// server can have two URLs that this doesn't see.
func sameStore(a, b string) bool {
	if a == b {
		return true
	}
	inA, errA := os.Stat(pathOf(a))
	inB, errB := os.Stat(pathOf(b))
	_, fragmentA, _ := strings.Cut(a, "#")
	_, fragmentB, _ := strings.Cut(b, "#")
	return errA == nil && errB == nil && os.SameFile(inA, inB) && fragmentA == fragmentB
}

// pathOf returns the file of a store's URL, if it is one.
func pathOf(url string) string {
	scheme, path, _ := strings.Cut(url, ":")
	switch scheme {
	case "bolt":
		return path
	case "sqlite":
		path, _, _ = strings.Cut(path, "#")
		return path
	}
	return ""
}

func (a *app) destination(ctx context.Context, url string, verifyOnly bool) (*openedStore, error) {
	acc := making
	if verifyOnly {
		acc = reading
	}
	dst, err := a.openStore(url, acc)
	if err != nil {
		return nil, fmt.Errorf("the store to copy to: %w", err)
	}
	if verifyOnly {
		return dst, nil
	}
	if err := a.confirmFull(ctx, dst); err != nil {
		return nil, errors.Join(err, dst.close())
	}
	return dst, nil
}

// confirmFull asks before a copy into a store that holds something.
func (a *app) confirmFull(ctx context.Context, dst *openedStore) error {
	all := storage.ContextFilter{All: true, AnyNamespace: true}
	keys, err := dst.ListKeys(ctx, storage.KeyQuery{Contexts: all, Limit: 1})
	if err != nil {
		return fmt.Errorf("the store to copy to: %w", err)
	}
	objects, err := dst.ListObjects(ctx, storage.ObjectQuery{Contexts: all, IncludeExpired: true, Limit: 1})
	if err != nil {
		return fmt.Errorf("the store to copy to: %w", err)
	}
	if len(keys.Keys)+len(objects.Objects) == 0 {
		return nil
	}
	return a.confirm(ctx, "The store to copy to ("+dst.name+") is not empty.", "copy")
}

func (a *app) copy(ctx context.Context, dst, src *openedStore, o storage.CopyOptions) error {
	m, err := a.meter("copy", func() (int64, error) { return countAll(ctx, src, o.Contexts) })
	if err != nil {
		return err
	}
	o.Progress = func(r storage.CopyReport) { m.set(r.Keys + r.Objects) }
	r, err := storage.Copy(ctx, dst.Store, src.Store, o)
	m.end()
	return errors.Join(a.printCopy(r, o.VerifyOnly), a.interrupted(ctx, err, "", ""))
}

// countAll counts the keys and objects that a copy goes through.
func countAll(ctx context.Context, s *openedStore, f storage.ContextFilter) (n int64, err error) {
	if len(f.Match) == 0 {
		f = storage.ContextFilter{All: true, AnyNamespace: true}
	}
	for q, first := (storage.KeyQuery{Contexts: f, Limit: 1000}), true; first || q.Cursor != ""; first = false {
		page, err := s.ListKeys(ctx, q)
		if err != nil {
			return 0, err
		}
		n, q.Cursor = n+int64(len(page.Keys)), page.Next
	}
	objects, err := countObjects(ctx, s, f)
	return n + objects, err
}

func countObjects(ctx context.Context, s *openedStore, f storage.ContextFilter) (n int64, err error) {
	for q, first := (storage.ObjectQuery{Contexts: f, IncludeExpired: true, Limit: 1000}), true; first || q.Cursor != ""; first = false {
		page, err := s.ListObjects(ctx, q)
		if err != nil {
			return 0, err
		}
		n, q.Cursor = n+int64(len(page.Objects)), page.Next
	}
	return n, nil
}

func (a *app) printCopy(r storage.CopyReport, verifyOnly bool) error {
	out := copyOut{
		Keys: r.Keys, Objects: r.Objects, Versions: r.Versions,
		KeysCopied: r.KeysCopied, VersionsCopied: r.VersionsCopied, KeysUpdated: r.KeysUpdated, VersionsUpdated: r.VersionsUpdated,
		BytesCopied: r.BytesCopied, VersionsWithoutKey: r.VersionsWithoutKey, ExtraVersions: r.ExtraVersions,
		KeysMissing: r.KeysMissing, VersionsMissing: r.VersionsMissing, KeysDifferent: r.KeysDifferent, VersionsDifferent: r.VersionsDifferent,
		ExtraKeys: r.ExtraKeys, ExtraObjects: r.ExtraObjects, VerifyOnly: verifyOnly, Changed: r.Changed(),
	}
	text := counts("copy", "keys", r.Keys, "objects", r.Objects, "versions", r.Versions, "keys copied", r.KeysCopied,
		"versions copied", r.VersionsCopied, "keys updated", r.KeysUpdated, "versions updated", r.VersionsUpdated,
		"versions without a key in the source", r.VersionsWithoutKey, "older versions only in the copy", r.ExtraVersions,
		"keys missing", r.KeysMissing, "versions missing", r.VersionsMissing, "keys different", r.KeysDifferent,
		"versions different", r.VersionsDifferent, "keys only in the copy", r.ExtraKeys, "objects only in the copy", r.ExtraObjects)
	return a.print(out, text)
}
