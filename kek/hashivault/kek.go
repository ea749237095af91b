package hashivault

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"

	"github.com/embedvault/vault/kek"
	"github.com/hashicorp/vault/api"
)

var (
	_ kek.Batcher       = (*KEK)(nil)
	_ kek.Checker       = (*KEK)(nil)
	_ kek.VersionTeller = (*KEK)(nil)
)

// mustExist is sent as the type of a key to create whenever something is
// encrypted. Vault creates a key that doesn't exist, if the token may create;
// it knows no such type and refuses. Of a key that exists it ignores the type.
// (transit's pathEncryptWrite.)
const mustExist = "must-exist"

// KEK is a key of HashiCorp Vault's transit secrets engine. It is safe for
// concurrent use and needs no closing. It keeps the client, and nothing secret
// but what the client has.
type KEK struct {
	client *api.Client // makes requests
	pinned *api.Client // sends them: see pin
	at     target
	mode   mode
	left   left
}

// New returns the KEK that the transit key named key is. It asks the server:
// the key must exist, be of type aes256-gcm96, chacha20-poly1305 or
// aes128-gcm96, and not be convergent. With a key that is not derived it
// encrypts a few bytes that are no key, and makes sure that the server doesn't
// decrypt them with other associated data, as one before 1.13 would.
//
// The client is the caller's: its address, token, TLS, time limit, retries and
// redirects stay as they are. Set it up before; while New runs, nothing of it may
// be changed. Afterwards its token may be renewed or replaced at any time. The
// namespace is that of now, whatever the client's becomes. Callbacks for
// responses (the client's WithResponseCallbacks) are not called.
//
// Errors match [ErrOptions], or one class of package kek: denied if the key
// doesn't exist, isn't suitable or may not be read or used; unavailable if there
// was no answer.
func New(ctx context.Context, client *api.Client, key string, o Options) (*KEK, error) {
	at, err := newTarget(client, key, o)
	if err != nil {
		return nil, err
	}
	k := &KEK{client: client, pinned: pin(client, at.namespace), at: at}
	info, err := k.readKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("hashivault: open %s: %w", at.uri(), err)
	}
	if reason := info.problem(); reason != "" {
		return nil, fmt.Errorf("hashivault: open %s: %w: the key can't be a KEK: %s", at.uri(), kek.ErrDenied, reason)
	}
	k.mode = info.mode()
	if k.mode == plain {
		if err := k.checkBinds(ctx); err != nil {
			return nil, fmt.Errorf("hashivault: open %s: %w", at.uri(), err)
		}
	}
	return k, nil
}

// URI implements [kek.Wrapper]:
//
//	hashivault://<host>[/ns=<element>]…/<mount>/keys/<name>
func (k *KEK) URI() string { return k.at.uri() }

// Wrap implements [kek.Wrapper]. Keys that are not 32 bytes long are refused as
// corrupt. It never creates the transit key, whatever the token may do.
//
// A second call makes sure that what the first returned is bound. With a derived
// key it reads the key, so that nothing is wrapped under one that was deleted and
// made anew without derivation. With a plain key it decrypts the wrapped key
// again, with its own associated data and with other, which must fail: a node of
// an older Vault, that came to answer after New, would ignore them. That is
// unavailable.
func (k *KEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	wrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("hashivault: wrap with %s: %w", k.URI(), err)
	}
	return wrapped, nil
}

func (k *KEK) wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail(kek.ErrUnavailable, err)
	}
	if len(key) != keyLen {
		return nil, fmt.Errorf("%w: the key has %d bytes, want %d", kek.ErrCorrupt, len(key), keyLen)
	}
	p := bound(k.mode, b)
	p.Plaintext = base64.StdEncoding.EncodeToString(key)
	p.Type = mustExist
	a, err := k.call(ctx, "encrypt", p)
	if err != nil {
		return nil, err
	}
	wrapped, err := a.Data.wrapped(k.mode)
	if err != nil {
		return nil, err
	}
	if err := k.checkBound(ctx, wrapped, p); err != nil {
		return nil, err
	}
	return wrapped, nil
}

// Unwrap implements [kek.Wrapper].
func (k *KEK) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("hashivault: unwrap of %d bytes with %s: %w", len(wrapped), k.URI(), err)
	}
	return key, nil
}

func (k *KEK) unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	a, err := k.open(ctx, "decrypt", wrapped, b)
	if err != nil {
		return nil, err
	}
	return a.Data.key()
}

// open makes a call for a wrapped key.
func (k *KEK) open(ctx context.Context, op string, wrapped []byte, b kek.Binding) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, fail(kek.ErrUnavailable, err)
	}
	c, err := parseWrapped(wrapped, k.mode)
	if err != nil {
		return answer{}, err
	}
	p := bound(k.mode, b)
	p.Ciphertext = c.text()
	return k.call(ctx, op, p)
}

// Rewrap implements [kek.Rewrapper]. With a derived key Vault does it, and the
// key isn't shown. With a plain key Vault can't, since its rewrap takes no
// associated data: the key is unwrapped and wrapped in this process, and zeroed.
// What Wrap does to make sure of the result, Rewrap does too.
func (k *KEK) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	rewrapped, err := k.rewrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("hashivault: rewrap of %d bytes with %s: %w", len(wrapped), k.URI(), err)
	}
	return rewrapped, nil
}

func (k *KEK) rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if k.mode == derived {
		a, err := k.open(ctx, "rewrap", wrapped, b)
		if err != nil {
			return nil, err
		}
		rewrapped, err := a.Data.wrapped(k.mode)
		if err != nil {
			return nil, err
		}
		if err := k.checkSame(ctx); err != nil {
			return nil, err
		}
		return rewrapped, nil
	}
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return k.wrap(ctx, key, b)
}

// Check implements [kek.Checker]. It reads the key, and so needs the right to;
// whether the token may encrypt and decrypt as well it can't know.
// PrimaryVersion is the key's latest version, in decimal. Rotates says that the
// key has an auto_rotate_period. A key that was deleted is denied.
func (k *KEK) Check(ctx context.Context) (kek.Status, error) {
	info, err := k.readKey(ctx)
	if err != nil {
		return kek.Status{}, fmt.Errorf("hashivault: check of %s: %w", k.URI(), err)
	}
	reason := k.changed(info)
	return kek.Status{
		Usable:         reason == "",
		Reason:         reason,
		PrimaryVersion: strconv.FormatInt(info.LatestVersion, 10),
		Rotates:        info.rotates(),
	}, nil
}

// WrappedVersion implements [kek.VersionTeller]: the version of the transit
// key, in decimal.
func (k *KEK) WrappedVersion(wrapped []byte) string {
	c, err := parseWrapped(wrapped, k.mode)
	if err != nil {
		return ""
	}
	return strconv.FormatUint(uint64(c.version), 10)
}

// Format prints the URI and nothing else, whatever the verb: the struct leads
// to the client's token.
func (k *KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.URI()) }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
