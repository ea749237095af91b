package storagetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

var listMutants = []mutant{
	{"the list leaks namespaces", []string{"ListContexts", "ListNamespaces"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			q.Contexts.AnyNamespace = true
			return b.Store.ListObjects(ctx, q)
		}
	}, nil},
	{"the key list leaks namespaces", []string{"KeyList", "ListNamespaces"}, func(b *broken) {
		b.listKeys = func(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
			q.Contexts.AnyNamespace = true
			return b.Store.ListKeys(ctx, q)
		}
	}, nil},
	{"a hash is looked for in the namespace only", []string{"ListContexts"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			if q.Contexts.Hash != (keyctx.Hash{}) && q.Contexts.Namespace != "" {
				return storage.ObjectPage{}, nil
			}
			return b.Store.ListObjects(ctx, q)
		}
	}, nil},
	{"names are ordered without case", []string{"ListByName"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			p, err := b.Store.ListObjects(ctx, q)
			slices.SortStableFunc(p.Objects, func(a, b storage.ObjectRecord) int {
				if c := bytes.Compare(a.ContextHash[:], b.ContextHash[:]); c != 0 {
					return c
				}
				return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
			})
			return p, err
		}
	}, nil},
	{"a prefix has wildcards", []string{"ListByName"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			q.NamePrefix, _, _ = strings.Cut(q.NamePrefix, "%")
			return b.Store.ListObjects(ctx, q)
		}
	}, nil},
	{"ties are skipped at the end of a page", []string{"ListByUpdated"}, func(b *broken) {
		var last storage.ObjectRecord
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			p, err := b.Store.ListObjects(ctx, q)
			if q.Order == storage.OrderByUpdated && q.Cursor != "" {
				p.Objects = slices.DeleteFunc(p.Objects, func(r storage.ObjectRecord) bool {
					return r.ContextHash == last.ContextHash && r.UpdatedAt.Equal(last.UpdatedAt)
				})
			}
			if n := len(p.Objects); n > 0 {
				last = p.Objects[n-1]
			}
			return p, err
		}
	}, nil},
	{"UpdatedAfter includes its own time", []string{"ListByUpdated"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			if !q.UpdatedAfter.IsZero() {
				q.UpdatedAfter = q.UpdatedAfter.Add(-1)
			}
			return b.Store.ListObjects(ctx, q)
		}
	}, nil},
	{"a lock is held between pages", []string{"ListWhilePutting"}, func(b *broken) {
		lock := make(chan struct{}, 1)
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			p, err := b.Store.ListObjects(ctx, q)
			if p.Next != "" {
				select {
				case lock <- struct{}{}:
				default:
				}
			} else {
				select {
				case <-lock:
				default:
				}
			}
			return p, err
		}
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			select {
			case lock <- struct{}{}:
				defer func() { <-lock }()
				return b.Store.PutObject(ctx, r, g)
			case <-ctx.Done():
				return storage.ObjectRecord{}, ctx.Err()
			}
		}
	}, nil},
	{"a cursor is an offset", []string{"ListWhilePutting"}, func(b *broken) {
		var mu sync.Mutex
		offsets := map[string]int{}
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			mu.Lock()
			defer mu.Unlock()
			n, limit := offsets[q.Cursor], storage.PageLimit(q.Limit)
			q.Cursor, q.Limit = "", 1000
			p, err := b.Store.ListObjects(ctx, q)
			p.Next = ""
			if len(p.Objects) > n+limit {
				p.Objects = p.Objects[:n+limit]
				p.Next = strings.Repeat("o", n+limit)
				offsets[p.Next] = n + limit
			}
			p.Objects = p.Objects[min(n, len(p.Objects)):]
			return p, err
		}
	}, nil},
	{"versions come oldest first", []string{"ListVersions"}, func(b *broken) {
		b.listVersions = func(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error) {
			q.Ascending = true
			return b.Store.ListVersions(ctx, q)
		}
	}, nil},
	{"deleted objects are still listed", []string{"ListEmptied", "ObjectDelete"}, func(b *broken) {
		b.deleteObject = func(ctx context.Context, ref storage.ObjectRef, v storage.ID) (storage.ObjectRecord, error) {
			r, err := b.Store.GetObject(ctx, ref)
			if err == nil {
				err = b.EditObject(r.ID, storage.ID{}, func(o *storage.ObjectRecord) { o.ExpiresAt = 1 })
			}
			return r, err
		}
	}, nil},
	{"limits are not cut", []string{"PageLimits"}, func(b *broken) {
		b.listByKey = func(ctx context.Context, q storage.ByKeyQuery) (out storage.ObjectPage, err error) {
			for want := q.Limit; ; {
				p, err := b.Store.ListByKey(ctx, q)
				out.Objects, out.Next = append(out.Objects, p.Objects...), p.Next
				if q.Cursor = p.Next; err != nil || p.Next == "" || len(out.Objects) >= want {
					return out, err
				}
			}
		}
	}, nil},
	{"foreign cursors start anew", []string{"Cursors"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			p, err := b.Store.ListObjects(ctx, q)
			if errors.Is(err, storage.ErrInvalidCursor) {
				q.Cursor = ""
				return b.Store.ListObjects(ctx, q)
			}
			return p, err
		}
	}, nil},
	{"an empty match is everything", []string{"QueriesInvalid"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			if q.Contexts.Hash == (keyctx.Hash{}) && len(q.Contexts.Match) == 0 {
				q.Contexts.All = true
			}
			return b.Store.ListObjects(ctx, q)
		}
	}, nil},
}

var otherMutants = []mutant{
	{"ping doesn't look", []string{"Ping"}, func(b *broken) {
		b.ping = func(context.Context) error { return nil }
	}, nil},
	{"a system record's revision is ignored", []string{"System", "SystemRace"}, func(b *broken) {
		b.putSystem = func(ctx context.Context, r storage.SystemRecord) (uint64, error) {
			if old, err := b.Store.GetSystem(ctx, r.Name); err == nil {
				r.Revision = old.Revision
			}
			return b.Store.PutSystem(ctx, r)
		}
	}, nil},
	{"system records are listed from, not after", []string{"SystemList"}, func(b *broken) {
		b.listSystem = func(ctx context.Context, prefix, after string, limit int) ([]storage.SystemRecord, error) {
			if after != "" {
				after = after[:len(after)-1] + string(after[len(after)-1]-1) + "~"
			}
			return b.Store.ListSystem(ctx, prefix, after, limit)
		}
	}, nil},
	{"slices are kept", []string{"SharesNothingGiven"}, func(b *broken) {
		kept := map[string][]byte{}
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			kept[r.Name] = r.Envelope
			return b.Store.PutObject(ctx, r, g)
		}
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			r, err := b.Store.GetObject(ctx, ref)
			if e, ok := kept[r.Name]; ok {
				r.Envelope = bytes.Clone(e)
			}
			return r, err
		}
	}, nil},
	{"what is given is changed", []string{"SharesNothingGiven"}, func(b *broken) {
		b.getObjects = func(ctx context.Context, h keyctx.Hash, names []string, now time.Time) ([]storage.ObjectRecord, error) {
			slices.Sort(names)
			return b.Store.GetObjects(ctx, h, names, now)
		}
	}, nil},
	{"slices are returned that are kept", []string{"SharesNothingReturned"}, func(b *broken) {
		kept := map[storage.ID]storage.ObjectRecord{}
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			r, err := b.Store.GetObject(ctx, ref)
			if old, ok := kept[r.VersionID]; ok && err == nil && !ref.NoEnvelope {
				return old, nil
			}
			kept[r.VersionID] = r
			return r, err
		}
	}, nil},
	{"ctx is ignored", []string{"CancelledWritesNothing"}, func(b *broken) {
		b.insertKey = func(ctx context.Context, r storage.KeyRecord) error {
			return b.Store.InsertKey(context.WithoutCancel(ctx), r)
		}
	}, nil},
	{"ctx is looked at too late", []string{"CancelledWritesNothing"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			got, err := b.Store.PutObject(context.WithoutCancel(ctx), r, g)
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return got, err
		}
	}, nil},
	{"everything is lost on closing", []string{"Reopen"}, func(*broken) {}, func(h *Harness) {
		h.Reopen = func(*testing.T, storage.Store) storage.Store { return memstore.New() }
	}},
	{"it hangs", []string{"Ping"}, func(b *broken) {
		b.ping = func(context.Context) error { select {} }
	}, nil},
}
