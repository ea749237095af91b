package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/embedvault/vault/storage"
)

// JobKind says what kind of pass a [Job] is of.
type JobKind string

// The kinds of jobs.
const (
	JobRewrap    JobKind = "rewrap"    // of RewrapOptions.Job
	JobReencrypt JobKind = "reencrypt" // of ReencryptOptions.Job
)

// Job is a pass with a name that hasn't come to its end: it is under way, or was
// stopped or killed and not gone on with. A pass whose job was never noted, since it
// has not come far enough, is not among them.
type Job struct {
	Kind JobKind
	Name string // of the options

	// What it was called with, and must be called with to go on.
	Match       KeyContext // nil: All
	Force       bool       // of a rewrap
	OldVersions bool       // of a re-encryption

	Seen, Moved, Failed int64 // so far, as its report counts them
}

// Jobs returns the jobs of this namespace, by kind and name. Whoever can write to the
// database can change what it says.
//
// Errors: ErrNoStore; ErrClosed; the store's; ctx's; ErrStoreCorrupt if some can't be
// read, of which Kind and Name are set and nothing else.
func (v *Vault) Jobs(ctx context.Context) (_ []Job, err error) {
	defer v.trace(&ctx, "jobs", nil).end(&err)
	err = v.ready(ctx)
	if err == nil {
		err = v.permit(ctx, AccessRequest{Operation: OpJobs, All: true})
	}
	var jobs []Job
	for _, kind := range []JobKind{JobRewrap, JobReencrypt} {
		var some []Job
		if err == nil || errors.Is(err, ErrStoreCorrupt) {
			var listErr error
			some, listErr = v.jobsOf(ctx, kind)
			err = errors.Join(err, listErr)
		}
		jobs = append(jobs, some...)
	}
	if err != nil {
		return jobs, fmt.Errorf("vault: jobs: %w", err)
	}
	return jobs, nil
}

func (v *Vault) jobsOf(ctx context.Context, kind JobKind) (jobs []Job, unread error) {
	prefix := v.note(string(kind), "x").name
	prefix = strings.TrimSuffix(prefix, "x")
	for after := ""; ; {
		recs, err := v.cfg.Store.ListSystem(ctx, prefix, after, passPage)
		if err != nil {
			return jobs, fmt.Errorf("listing jobs: %w", err)
		}
		for _, rec := range recs {
			after = rec.Name
			job, err := readJob(kind, strings.TrimPrefix(rec.Name, prefix), rec.Value)
			jobs = append(jobs, job)
			if err != nil {
				unread = errors.Join(unread, fmt.Errorf("%s job %s: %w", kind, job.Name, err))
			}
		}
		if len(recs) < passPage {
			return jobs, unread
		}
	}
}

// readJob reads a job's note as far as it can be read.
func readJob(kind JobKind, name string, value []byte) (Job, error) {
	job := Job{Kind: kind, Name: name}
	if kind == JobRewrap {
		var n rewrapJob
		if err := decodeNote(value, &n, rewrapJobFormat); err != nil {
			return job, err
		}
		job.Match, job.Force = n.Match, n.Force
		job.Seen, job.Moved, job.Failed = n.Report.Seen, n.Report.Moved, n.Report.Failed
		return job, nil
	}
	var n reencryptJob
	if err := decodeNote(value, &n, reencryptJobFormat); err != nil {
		return job, err
	}
	job.Match, job.OldVersions = n.Match, n.OldVersions
	job.Seen, job.Moved, job.Failed = n.Report.Seen, n.Report.Moved, n.Report.Failed
	return job, nil
}

// ForgetJob removes what the store keeps of a job, also if it can't be read: the next
// pass of that name begins anew. No key and no object is touched. A pass that is under
// way under that name ends with ErrVersionConflict.
//
// Errors: ErrNotFound if there is none; ErrVersionConflict if it is under way and was
// noted anew meanwhile; ErrInvalidOption for what can't be a job's kind or name, and in
// a transaction of the application's; ErrNoStore; ErrClosed; the store's; ctx's.
func (v *Vault) ForgetJob(ctx context.Context, kind JobKind, name string) (err error) {
	defer v.trace(&ctx, "forget_job", nil).end(&err)
	if err := v.forgetJob(ctx, kind, name); err != nil {
		return fmt.Errorf("vault: forget job: %w", err)
	}
	return nil
}

func (v *Vault) forgetJob(ctx context.Context, kind JobKind, name string) error {
	if kind != JobRewrap && kind != JobReencrypt || !jobName.MatchString(name) {
		return fmt.Errorf("%w: a job is of kind %q or %q, and its name 1 to 100 of A-Z a-z 0-9 . _ : -", ErrInvalidOption, JobRewrap, JobReencrypt)
	}
	ctx, end, err := v.long(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := v.permit(ctx, AccessRequest{Operation: OpForgetJob, All: true}); err != nil {
		return err
	}
	record := v.note(string(kind), name).name
	rec, err := v.cfg.Store.GetSystem(ctx, record)
	if err == nil {
		err = v.cfg.Store.DeleteSystem(ctx, record, rec.Revision)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("%w: there is no %s job %s", ErrNotFound, kind, name)
	case errors.Is(err, storage.ErrVersionConflict):
		return fmt.Errorf("%w: %s job %s is under way", ErrVersionConflict, kind, name)
	case err != nil:
		return fmt.Errorf("%s job %s: %w", kind, name, err)
	}
	return nil
}
