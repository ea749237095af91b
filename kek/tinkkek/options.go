package tinkkek

import (
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/tink"
)

var (
	// ErrKeyset is matched when a file or a handle holds no keyset that can be
	// used: empty, cut short, not JSON, not of AEAD keys, encrypted without
	// Options.Encryption or the reverse. Its text never has anything of the keys
	// in it.
	ErrKeyset = errors.New("not a usable keyset")

	// ErrInsecureFile is matched when a keyset file can be read or written by
	// others than its owner, or is not a regular file.
	ErrInsecureFile = errors.New("insecure keyset file")

	// ErrEncryption is matched when Options.Encryption fails. Whether it isn't
	// the one that the file was encrypted with, or is out of reach, only its own
	// error can tell, which is wrapped beside it.
	ErrEncryption = errors.New("the keyset's own encryption failed")

	// ErrLocked is matched when a keyset is being rotated by someone else, or
	// was when that process died.
	ErrLocked = errors.New("keyset file locked")

	// ErrOptions is matched when options are wrong. The text names the field.
	ErrOptions = errors.New("invalid options")
)

// Options are the options of all KEKs of this package. The zero value is good.
// An option that has no meaning for a KEK is refused, not ignored.
type Options struct {
	// Name tells keysets apart: the URI is "tink-keyset:" + Name. It is 1 to 64
	// bytes of [A-Za-z0-9_.-]; the default is "local". It is stored beside every
	// key that the KEK wraps, so it must stay as it is for ever. For keysets.
	Name string

	// Encryption encrypts the keyset in its file, with a key that is kept
	// elsewhere. The name of the keyset is bound as associated data. It is called
	// when the file is read and written, without a ctx, so its client should have
	// a time limit of its own. nil leaves the keyset in the clear. For files.
	Encryption tink.AEAD

	// Classify says which class an error of the AEAD's belongs to: kek.ErrDenied,
	// kek.ErrUnavailable, kek.ErrCorrupt; or nil, for the built-in rules to
	// decide. See [FromAEAD] for those. It must be safe for concurrent use. For
	// AEADs and KMS clients.
	Classify func(error) error
}

const (
	defaultName = "local"
	maxNameLen  = 64
)

// forFile returns the options for a keyset file, of which there is at most one.
func forFile(opts []Options) (Options, error) {
	if len(opts) > 1 {
		return Options{}, fmt.Errorf("tinkkek: %w: %d Options given, at most one is taken", ErrOptions, len(opts))
	}
	var o Options
	if len(opts) == 1 {
		o = opts[0]
	}
	if o.Classify != nil {
		return Options{}, fmt.Errorf("tinkkek: %w: Classify is for AEADs and KMS clients", ErrOptions)
	}
	return o.named()
}

// forHandle returns the options for a keyset handle.
func (o Options) forHandle() (Options, error) {
	if o.Encryption != nil || o.Classify != nil {
		return Options{}, fmt.Errorf("tinkkek: %w: Encryption and Classify are not for keyset handles", ErrOptions)
	}
	return o.named()
}

// forRemote returns the options for an AEAD.
func (o Options) forRemote() (Options, error) {
	if o.Name != "" || o.Encryption != nil {
		return Options{}, fmt.Errorf("tinkkek: %w: Name and Encryption are for keysets", ErrOptions)
	}
	return o, nil
}

func (o Options) named() (Options, error) {
	if o.Name == "" {
		o.Name = defaultName
	}
	if !validName(o.Name) {
		return Options{}, fmt.Errorf("tinkkek: %w: Name %.100q is not 1 to %d bytes of A-Z a-z 0-9 _ . -", ErrOptions, o.Name, maxNameLen)
	}
	return o, nil
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > maxNameLen {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}
