package vault

import (
	"context"
	"fmt"
	"maps"
)

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

	note jobNote
}

// openJob returns the job that the options name, where it was left.
func (p *rewrapPass) openJob(ctx context.Context) (*rewrapJob, error) {
	fresh := &rewrapJob{Format: rewrapJobFormat, Match: p.opts.Match, All: p.opts.All, Force: p.opts.Force}
	fresh.note = p.v.note("rewrap", p.opts.Job)
	job := new(rewrapJob)
	if found, err := fresh.note.read(ctx, job, rewrapJobFormat); err != nil || !found {
		return fresh, err
	}
	if job.All != fresh.All || job.Force != fresh.Force || !maps.Equal(job.Match, fresh.Match) {
		return nil, fmt.Errorf("%w: job %s is under way with another Match, All or Force; finish it with those, or take another name", ErrInvalidOption, p.opts.Job)
	}
	job.note = fresh.note
	p.report = job.Report
	return job, nil
}

// saveJob notes that everything before the cursor is done.
func (p *rewrapPass) saveJob(ctx context.Context, job *rewrapJob, cursor string) error {
	job.Cursor, job.Report = cursor, p.report
	return job.note.write(ctx, job)
}
