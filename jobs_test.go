package vault_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

// stopped begins a rewrap of a job and stops it after the first page.
func stopped(t *testing.T, v *vault.Vault, o vault.RewrapOptions) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Progress = func(vault.RewrapReport) { cancel() }
	wantErr(t, second(v.Rewrap(ctx, o)), context.Canceled)
}

// Jobs that were stopped can be seen, and forgotten, each in its own namespace.
func TestJobs(t *testing.T) {
	w := newBYOKWorld(t, 10)
	w.manyKeys(t, 400)
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	if jobs := must(w.Jobs(t.Context()))(t); len(jobs) != 0 {
		t.Fatalf("jobs %+v", jobs)
	}
	stopped(t, w.Vault.Vault, vault.RewrapOptions{All: true, Job: "a"})
	stopped(t, w.Vault.Vault, vault.RewrapOptions{All: true, Force: true, Job: "b"})
	jobs := must(w.Jobs(t.Context()))(t)
	if len(jobs) != 2 || jobs[0].Kind != vault.JobRewrap || jobs[0].Name != "a" || jobs[0].Seen != 200 || jobs[0].Match != nil ||
		jobs[0].Force || jobs[1].Name != "b" || !jobs[1].Force || jobs[0].Moved+jobs[0].Failed != 200 {
		t.Fatalf("jobs %+v", jobs)
	}
	other := open(t, vault.Config{KEK: memkek.New("x"), Store: w.Store, Namespace: "other"})
	if jobs := must(other.Jobs(t.Context()))(t); len(jobs) != 0 {
		t.Errorf("another namespace sees %+v", jobs)
	}
	wantErr(t, other.ForgetJob(t.Context(), vault.JobRewrap, "a"), vault.ErrNotFound)
	wantErr(t, w.ForgetJob(t.Context(), vault.JobReencrypt, "a"), vault.ErrNotFound)
	wantErr(t, w.ForgetJob(t.Context(), "shred", "a"), vault.ErrInvalidOption)
	wantErr(t, w.ForgetJob(t.Context(), vault.JobRewrap, "a/b"), vault.ErrInvalidOption)
	ok(t, w.ForgetJob(t.Context(), vault.JobRewrap, "a"))
	wantErr(t, w.ForgetJob(t.Context(), vault.JobRewrap, "a"), vault.ErrNotFound)

	// It begins anew, and the other one goes on.
	r := must(w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Job: "a"}))(t)
	if r.Seen < 400 || r.Current < 200 {
		t.Errorf("the forgotten job: %+v", r)
	}
	r = must(w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Force: true, Job: "b"}))(t)
	if jobs := must(w.Jobs(t.Context()))(t); len(jobs) != 0 || r.Seen < 400 {
		t.Errorf("jobs %+v, report %+v", jobs, r)
	}
}

// A job that can't be read hides no other, and can be forgotten; one that is forgotten
// while it is under way ends.
func TestJobsThatCannotBeRead(t *testing.T) {
	w := newBYOKWorld(t, 10)
	w.manyKeys(t, 400)
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	for _, name := range []string{"a", "b"} {
		stopped(t, w.Vault.Vault, vault.RewrapOptions{All: true, Force: true, Job: name})
	}
	recs := must(w.Store.ListSystem(t.Context(), "rewrap/", "", 10))(t)
	must(w.Store.PutSystem(t.Context(), storage.SystemRecord{Name: recs[0].Name, Value: []byte(`{"format":9}`), Revision: recs[0].Revision}))(t)
	jobs, err := w.Jobs(t.Context())
	if !errors.Is(err, vault.ErrStoreCorrupt) || len(jobs) != 2 || jobs[0].Name != "a" || jobs[0].Seen != 0 || jobs[1].Seen != 200 {
		t.Errorf("jobs %+v, %v", jobs, err)
	}
	ok(t, w.ForgetJob(t.Context(), vault.JobRewrap, "a"))
	_, err = w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Force: true, Job: "b", Progress: func(vault.RewrapReport) {
		if err := w.ForgetJob(context.Background(), vault.JobRewrap, "b"); err != nil && !errors.Is(err, vault.ErrNotFound) {
			t.Error(err)
		}
	}})
	wantErr(t, err, vault.ErrVersionConflict)
}

// A job of a re-encryption is told with its own options.
func TestJobsOfReencryption(t *testing.T) {
	v := vaulttest.New(t)
	for i := range 450 {
		must(v.Put(t.Context(), orgA, vaultName(i), nil))(t)
	}
	ok(t, v.Rotate(t.Context(), orgA))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := v.ReencryptObjects(ctx, vault.ReencryptOptions{
		Match: orgA, OldVersions: true, Job: "re", Progress: func(vault.ReencryptReport) { cancel() },
	})
	wantErr(t, err, context.Canceled)
	jobs := must(v.Jobs(t.Context()))(t)
	if len(jobs) != 1 || jobs[0].Kind != vault.JobReencrypt || jobs[0].Match["organization_id"] != orgA["organization_id"] || !jobs[0].OldVersions || jobs[0].Moved == 0 {
		t.Fatalf("jobs %+v", jobs)
	}
	ok(t, v.ForgetJob(t.Context(), vault.JobReencrypt, "re"))
	if jobs := must(v.Jobs(t.Context()))(t); len(jobs) != 0 {
		t.Errorf("jobs %+v", jobs)
	}
}

func vaultName(i int) string { return "object-" + string(rune('a'+i%26)) + time.Duration(i).String() }

// A key that an earlier keyset of the same name wrapped is lost, and not current.
func TestRewrapSeesAReplacedKeyset(t *testing.T) {
	store, dir := memstore.New(), t.TempDir()
	was := must(tinkkek.LoadOrCreate(filepath.Join(dir, "was.json")))(t)
	v := open(t, vault.Config{KEK: was, Store: store})
	ok(t, v.Prepare(t.Context(), orgA))
	now := must(tinkkek.LoadOrCreate(filepath.Join(dir, "now.json")))(t)
	v = open(t, vault.Config{KEK: now, Store: store})
	ok(t, v.Prepare(t.Context(), orgB))
	r, err := v.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	wantErr(t, err, vault.ErrRewrapIncomplete)
	if r.Failed != 1 || r.Current != 1 || len(r.Failures) != 1 || r.Failures[0].ContextHash != hashIn(t, orgA, "") {
		t.Fatalf("report %+v", r)
	}
	wantErr(t, r.Failures[0].Err, vault.ErrKEKCorrupt)
	if rec := must(store.LatestKey(t.Context(), hashIn(t, orgA, ""), keyctx.PurposeData))(t); rec.Revision != 1 {
		t.Error("it was written")
	}
	wantErr(t, second(v.Rewrap(t.Context(), vault.RewrapOptions{Match: orgA})), vault.ErrRewrapIncomplete)
	r = must(open(t, vault.Config{KEK: was, Store: store}).Rewrap(t.Context(), vault.RewrapOptions{Match: orgA}))(t)
	if r.Current != 1 {
		t.Errorf("under its own keyset: %+v", r)
	}
}
