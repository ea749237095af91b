package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"time"

	"github.com/embedvault/vault/storage"
)

// jobName is what a job may be called.
var jobName = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,100}$`)

// rewrapJobFormat is the version of rewrapJob's JSON.
const rewrapJobFormat = 1

// rewrapJob is how far a named pass has come, as it stands in the store's system
// record "rewrap/" ‖ first 8 bytes of the namespace's SHA-256 in hex ‖ "/" ‖ job.
// Whoever can write to the database can make a pass begin anew or skip keys; the
// report of a pass without a Job says the truth.
type rewrapJob struct {
	Format int          `json:"format"`
	Match  KeyContext   `json:"match,omitempty"`
	All    bool         `json:"all,omitempty"`
	Force  bool         `json:"force,omitempty"`
	Cursor string       `json:"cursor"`
	Report RewrapReport `json:"report"`

	name     string // of the system record; "" if nothing is kept
	revision uint64 // of it; 0: not there yet
}

// openJob returns the job that the options name, where it was left.
func (p *rewrapPass) openJob(ctx context.Context) (*rewrapJob, error) {
	fresh := &rewrapJob{Format: rewrapJobFormat, Match: p.opts.Match, All: p.opts.All, Force: p.opts.Force}
	if p.opts.Job == "" {
		return fresh, nil
	}
	ns := sha256.Sum256([]byte(p.v.cfg.Namespace))
	fresh.name = "rewrap/" + hex.EncodeToString(ns[:8]) + "/" + p.opts.Job
	rec, err := p.v.cfg.Store.GetSystem(ctx, fresh.name)
	if errors.Is(err, storage.ErrNotFound) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading job %s: %w", p.opts.Job, err)
	}
	job, err := parseJob(rec.Value)
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", p.opts.Job, err)
	}
	if job.All != fresh.All || job.Force != fresh.Force || !maps.Equal(job.Match, fresh.Match) {
		return nil, fmt.Errorf("%w: job %s is under way with another Match, All or Force; finish it with those, or take another name", ErrInvalidOption, p.opts.Job)
	}
	job.name, job.revision = fresh.name, rec.Revision
	p.report = job.Report
	return job, nil
}

func parseJob(value []byte) (*rewrapJob, error) {
	job := new(rewrapJob)
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if err := d.Decode(job); err != nil {
		return nil, fmt.Errorf("%w: its record can't be read", storage.ErrCorrupt)
	}
	if job.Format != rewrapJobFormat {
		return nil, fmt.Errorf("%w: its record has format %d, want %d", storage.ErrCorrupt, job.Format, rewrapJobFormat)
	}
	return job, nil
}

// jobTimeout bounds the note of what was done, which is made also if ctx has
// ended: that is when it is needed.
const jobTimeout = 10 * time.Second

// saveJob notes that everything before the cursor is done.
func (p *rewrapPass) saveJob(ctx context.Context, job *rewrapJob, cursor string) error {
	if job.name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobTimeout)
	defer cancel()
	job.Cursor, job.Report = cursor, p.report
	value, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("job %s: %w", p.opts.Job, err)
	}
	revision, err := p.v.cfg.Store.PutSystem(ctx, storage.SystemRecord{Name: job.name, Value: value, Revision: job.revision})
	if err != nil {
		return p.jobError(err)
	}
	job.revision = revision
	return nil
}

// endJob forgets the job: the pass is over.
func (p *rewrapPass) endJob(ctx context.Context, job *rewrapJob) error {
	if job.revision == 0 {
		return nil
	}
	err := p.v.cfg.Store.DeleteSystem(ctx, job.name, job.revision)
	if err != nil {
		return p.jobError(err)
	}
	return nil
}

// jobError explains a guard that didn't hold.
func (p *rewrapPass) jobError(err error) error {
	if errors.Is(err, storage.ErrVersionConflict) || errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: another process runs job %s", ErrVersionConflict, p.opts.Job)
	}
	return fmt.Errorf("job %s: %w", p.opts.Job, err)
}
