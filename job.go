package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/embedvault/vault/storage"
)

// jobName is what a job may be called.
var jobName = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,100}$`)

// jobTimeout bounds the note of what was done, which is made also if ctx has
// ended: that is when it is needed.
const jobTimeout = 10 * time.Second

// jobNote is the system record in which a pass keeps how far it has come. The
// zero note keeps nothing.
type jobNote struct {
	store    storage.SystemStore
	job      string // what the caller calls it
	name     string // of the system record; "" if nothing is kept
	revision uint64 // of it; 0: not there yet
}

// note names the system record of a job: kind ‖ "/" ‖ the namespace's mark ‖ "/" ‖
// job. Without a job nothing is kept.
func (v *Vault) note(kind, job string) jobNote {
	if job == "" {
		return jobNote{}
	}
	return jobNote{store: v.cfg.Store, job: job, name: kind + "/" + v.namespaceMark() + "/" + job}
}

// namespaceMark tells namespaces apart in names of system records: the first 8
// bytes of the namespace's SHA-256 in hex.
func (v *Vault) namespaceMark() string {
	sum := sha256.Sum256([]byte(v.cfg.Namespace))
	return hex.EncodeToString(sum[:8])
}

// read reads the note, of this format, into the job it is of; false if there is
// none.
func (n *jobNote) read(ctx context.Context, into any, format int) (found bool, err error) {
	if n.name == "" {
		return false, nil
	}
	rec, err := n.store.GetSystem(ctx, n.name)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading job %s: %w", n.job, err)
	}
	if err := decodeNote(rec.Value, into, format); err != nil {
		return false, fmt.Errorf("job %s: %w", n.job, err)
	}
	n.revision = rec.Revision
	return true, nil
}

// write notes how far the job has come.
func (n *jobNote) write(ctx context.Context, job any) error {
	if n.name == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobTimeout)
	defer cancel()
	value, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("job %s: %w", n.job, err)
	}
	revision, err := n.store.PutSystem(ctx, storage.SystemRecord{Name: n.name, Value: value, Revision: n.revision})
	if err != nil {
		return n.lost(err)
	}
	n.revision = revision
	return nil
}

// remove forgets the job: the pass is over.
func (n *jobNote) remove(ctx context.Context) error {
	if n.revision == 0 {
		return nil
	}
	if err := n.store.DeleteSystem(ctx, n.name, n.revision); err != nil {
		return n.lost(err)
	}
	return nil
}

// lost explains a guard that didn't hold.
func (n *jobNote) lost(err error) error {
	if guardFailed(err) {
		return fmt.Errorf("%w: another process runs job %s", ErrVersionConflict, n.job)
	}
	return fmt.Errorf("job %s: %w", n.job, err)
}

// guardFailed reports whether a guarded write was refused because another process
// was there first.
func guardFailed(err error) bool {
	return errors.Is(err, storage.ErrVersionConflict) || errors.Is(err, storage.ErrExists) || errors.Is(err, storage.ErrNotFound)
}

// decodeNote reads the JSON of a system record of the vault's own, of this format,
// and refuses fields that it doesn't know.
func decodeNote(value []byte, into any, format int) error {
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return fmt.Errorf("%w: its record can't be read", storage.ErrCorrupt)
	}
	if head.Format != format {
		return fmt.Errorf("%w: its record has format %d, want %d", storage.ErrCorrupt, head.Format, format)
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: its record can't be read", storage.ErrCorrupt)
	}
	return nil
}
