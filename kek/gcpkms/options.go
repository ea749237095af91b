package gcpkms

import (
	"context"
	"errors"
	"fmt"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// ErrOptions is matched when [New] is given what can't be right: no client, or a
// name that isn't one of a key. Nothing was asked of Cloud KMS then. It is of no
// class of package kek.
var ErrOptions = errors.New("invalid options")

// Options are the options of a KEK. The zero value is good. None of them changes
// what is wrapped.
type Options struct {
	// SkipLookup lets [New] return without asking Cloud KMS about the key, so that
	// a process can start while Cloud KMS can't be reached. A key that doesn't
	// exist, or can't encrypt, shows at the first call.
	SkipLookup bool
}

// New returns the KEK that the key is. client is the SDK's own and stays the
// caller's: credentials, endpoint, retries and time limits are as it has them,
// and it must not be closed while the KEK is used. Both of the SDK's clients
// serve, gRPC and REST.
//
// key is the name of a key for symmetric encryption, and of no version of it:
//
//	projects/my-project/locations/europe-west1/keyRings/my-ring/cryptoKeys/my-key
//
// Any other form is refused, and so are project numbers, and names of more than
// 502 bytes, which only a project ID with a very long domain makes; the error
// matches [ErrOptions].
//
// Unless Options.SkipLookup is set, New asks for the key (GetCryptoKey). If there
// is none, or it isn't one for symmetric encryption, the error matches
// [kek.ErrDenied]. Who may use the key need not be allowed to ask for it: if IAM
// refuses the question, New returns a KEK all the same, since the permission is
// not part of roles/cloudkms.cryptoKeyEncrypterDecrypter. A key that is disabled
// now is no error: it may be enabled later.
func New(ctx context.Context, client *kms.KeyManagementClient, key string, o Options) (*KEK, error) {
	if client == nil {
		return nil, fmt.Errorf("gcpkms: %w: the client is nil", ErrOptions)
	}
	if !nameForm.MatchString(key) {
		return nil, fmt.Errorf("gcpkms: %w: the key %.200q is not of the form "+
			"projects/PROJECT_ID/locations/LOCATION/keyRings/KEY_RING/cryptoKeys/KEY", ErrOptions, key)
	}
	k := &KEK{client: client, calls: new(calls), name: key}
	if !keyctx.ValidURI(k.URI()) {
		return nil, fmt.Errorf("gcpkms: %w: the name of the key makes a URI of %d bytes, at most %d are allowed", ErrOptions, len(k.URI()), keyctx.MaxURILen)
	}
	if o.SkipLookup {
		return k, nil
	}
	if err := k.mustEncrypt(ctx); err != nil {
		return nil, fmt.Errorf("gcpkms: open %s: %w", k.URI(), err)
	}
	return k, nil
}

// mustEncrypt makes sure that the key exists and is one for symmetric
// encryption, as far as it may be asked for.
func (k *KEK) mustEncrypt(ctx context.Context) error {
	key, err := k.lookup(ctx)
	if err != nil {
		if mayNotAsk(err) {
			return nil
		}
		return err
	}
	if purpose := key.GetPurpose(); purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		return fmt.Errorf("%w: the key's purpose is %v, want ENCRYPT_DECRYPT", kek.ErrDenied, purpose)
	}
	return nil
}
