package vault

import (
	"fmt"
	"maps"
	"time"
	"unicode/utf8"
)

// PutOption is an option of [Vault.Put].
type PutOption interface{ applyPut(*putOpts) error }

// GetOption is an option of [Vault.Get], [Vault.GetByID] and [Vault.Describe].
type GetOption interface{ applyGet(*ID) error }

// DeleteOption is an option of [Vault.Delete].
type DeleteOption interface{ applyDelete(*ID) error }

type putOpts struct {
	ifAbsent  bool
	ifVersion ID
	expiresAt int64
	labels    map[string]string
}

func putOptions(opts []PutOption) (putOpts, error) {
	var p putOpts
	for _, o := range opts {
		if o == nil {
			continue
		}
		if err := o.applyPut(&p); err != nil {
			return putOpts{}, err
		}
	}
	if p.ifAbsent && !p.ifVersion.IsZero() {
		return putOpts{}, fmt.Errorf("%w: IfAbsent and IfVersion exclude each other", ErrInvalidOption)
	}
	return p, nil
}

func getOptions(opts []GetOption) (version ID, err error) {
	for _, o := range opts {
		if o != nil && err == nil {
			err = o.applyGet(&version)
		}
	}
	return version, err
}

func deleteOptions(opts []DeleteOption) (version ID, err error) {
	for _, o := range opts {
		if o != nil && err == nil {
			err = o.applyDelete(&version)
		}
	}
	return version, err
}

type ifAbsent struct{}

// IfAbsent makes Put fail with ErrExists if there already is an object of that
// name.
func IfAbsent() PutOption { return ifAbsent{} }

func (ifAbsent) applyPut(p *putOpts) error {
	p.ifAbsent = true
	return nil
}

// IfVersionOption is what [IfVersion] returns.
type IfVersionOption struct{ id ID }

// IfVersion makes Put and Delete fail with ErrVersionConflict unless this is the
// ID of the object's current version: Metadata.VersionID of what was read
// before.
func IfVersion(id ID) IfVersionOption { return IfVersionOption{id} }

func (o IfVersionOption) applyPut(p *putOpts) error { return o.applyDelete(&p.ifVersion) }

func (o IfVersionOption) applyDelete(version *ID) error {
	if o.id.IsZero() { // must not turn a guarded call into an unguarded one
		return fmt.Errorf("%w: IfVersion of the zero ID; for an object that isn't there yet use IfAbsent", ErrInvalidOption)
	}
	*version = o.id
	return nil
}

type expiresAt struct{ at time.Time }

// ExpiresAt makes this version of the object unreadable from then on, to the
// microsecond. While the current version has expired the object isn't found,
// and a Put makes a new one; the sweep deletes it. Who can write to the
// database can't extend it.
func ExpiresAt(t time.Time) PutOption { return expiresAt{t} }

func (o expiresAt) applyPut(p *putOpts) error {
	// By the year first: far outside it, UnixMicro overflows, and "never" would
	// become some day.
	if year := o.at.UTC().Year(); year < 1970 || year > 9999 || o.at.UnixMicro() <= 0 {
		return fmt.Errorf("%w: ExpiresAt must be after 1970 and before the year 10000", ErrInvalidOption)
	}
	p.expiresAt = o.at.UnixMicro()
	return nil
}

// Limits of labels.
const (
	maxLabels     = 64
	maxLabelKey   = 128
	maxLabelValue = 1024
)

type labels map[string]string

// Labels gives this version of the object labels, for the caller's own use: at
// most 64, keys of 1 to 128 bytes, values of at most 1024, in UTF-8 without
// control characters. They are stored in clear and not authenticated, and a
// version without the option has none. The map is copied.
func Labels(m map[string]string) PutOption { return labels(maps.Clone(m)) }

func (o labels) applyPut(p *putOpts) error {
	if len(o) > maxLabels {
		return fmt.Errorf("%w: %d labels, at most %d are allowed", ErrInvalidOption, len(o), maxLabels)
	}
	for k, v := range o {
		if k == "" || len(k) > maxLabelKey || !isText(k) {
			return fmt.Errorf("%w: the label key %.80q: want 1 to %d bytes of UTF-8 without control characters", ErrInvalidOption, k, maxLabelKey)
		}
		if len(v) > maxLabelValue || !isText(v) {
			return fmt.Errorf("%w: the value of label %q: want at most %d bytes of UTF-8 without control characters", ErrInvalidOption, k, maxLabelValue)
		}
	}
	p.labels = maps.Clone(o)
	return nil
}

func isText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if isControl(r) {
			return false
		}
	}
	return true
}

type atVersion struct{ id ID }

// AtVersion asks for one version instead of the current one. What Get and
// GetByID then return is proven to be that version.
func AtVersion(id ID) GetOption { return atVersion{id} }

func (o atVersion) applyGet(version *ID) error {
	if o.id.IsZero() { // must not turn into a call for the current version
		return fmt.Errorf("%w: AtVersion of the zero ID", ErrInvalidOption)
	}
	*version = o.id
	return nil
}
