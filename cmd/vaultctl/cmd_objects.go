package main

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
)

type objectLine struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Context   vault.KeyContext  `json:"context"`
	VersionID string            `json:"version_id"`
	Number    uint64            `json:"number"`
	KeyID     string            `json:"key_id"`
	Size      int64             `json:"size"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	UpdatedBy string            `json:"updated_by,omitempty"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	Labels    map[string]string `json:"labels,omitempty"`
}

func (a *app) objectsCommand() *cobra.Command {
	var all, versions bool
	var prefix string
	c := &cobra.Command{
		Use:   "objects {PAIR… | --all}",
		Short: "List the stored objects of every context that contains the pairs",
		Long: `Lists what is known of stored objects: names, versions, sizes, times, keys. Their values
are neither decrypted nor shown.`,
		Example: "  vaultctl objects organization_id=org_01 --prefix stripe/ --versions",
	}
	f := c.Flags()
	f.BoolVar(&all, "all", false, "all objects of the namespace")
	f.BoolVar(&versions, "versions", false, "all versions of each object, the newest first")
	f.StringVar(&prefix, "prefix", "", "only names that start so")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, all)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: reading}, func(s *session) error {
			out := a.lines()
			for rec, err := range s.objects(ctx, match, prefix) {
				if err == nil && versions {
					err = a.listVersions(ctx, s, out, rec)
				} else if err == nil {
					err = listObject(out, rec)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// objects iterates over the current versions of objects, without their values. The
// list is one event, as a list of the vault's own is.
func (s *session) objects(ctx context.Context, match vault.KeyContext, prefix string) iter.Seq2[storage.ObjectRecord, error] {
	return func(yield func(storage.ObjectRecord, error) bool) {
		q := storage.ObjectQuery{Contexts: s.contexts(match), NamePrefix: prefix, Now: time.Now(), Limit: 1000}
		for first := true; first || q.Cursor != ""; first = false {
			page, err := s.store.ListObjects(ctx, q)
			if first {
				err = s.listed(ctx, err)
			}
			if err != nil {
				yield(storage.ObjectRecord{}, fmt.Errorf("list objects: %w", err))
				return
			}
			for _, rec := range page.Objects {
				if !yield(rec, nil) {
					return
				}
			}
			q.Cursor = page.Next
		}
	}
}

// versions iterates over an object's versions that have not expired, without values.
func (s *session) versions(ctx context.Context, object vault.ID) iter.Seq2[storage.ObjectRecord, error] {
	return func(yield func(storage.ObjectRecord, error) bool) {
		q := storage.VersionQuery{Object: object, Now: time.Now(), Limit: 1000}
		for first := true; first || q.Cursor != ""; first = false {
			page, err := s.store.ListVersions(ctx, q)
			if err != nil {
				yield(storage.ObjectRecord{}, fmt.Errorf("list versions: %w", err))
				return
			}
			for _, rec := range page.Objects {
				if !yield(rec, nil) {
					return
				}
			}
			q.Cursor = page.Next
		}
	}
}

func (a *app) listVersions(ctx context.Context, s *session, out *lines, rec storage.ObjectRecord) error {
	for v, err := range s.versions(ctx, rec.ID) {
		if err != nil {
			return err
		}
		if err := listObject(out, v); err != nil {
			return err
		}
	}
	return nil
}

func listObject(out *lines, r storage.ObjectRecord) error {
	line := objectLine{
		ID: r.ID.String(), Name: r.Name, Context: r.Context.WithoutNamespace(), VersionID: r.VersionID.String(), Number: r.Number,
		KeyID: r.KeyID.String(), Size: r.Size, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy, Labels: r.Labels,
	}
	if r.ExpiresAt != 0 {
		line.ExpiresAt = time.UnixMicro(r.ExpiresAt).UTC()
	}
	header := fmt.Sprintf("%-30s  %6s  %9s  %-16s  %-12s  %s", "NAME", "NUMBER", "SIZE", "UPDATED (UTC)", "KEY", "CONTEXT")
	text := fmt.Sprintf("%-30s  %6d  %9d  %s  %-12.12s  %s", r.Name, r.Number, r.Size, day(r.UpdatedAt), r.KeyID, pairsText(line.Context))
	return out.add(line, header, text)
}
