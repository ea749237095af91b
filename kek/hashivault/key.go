package hashivault

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/embedvault/vault/kek"
)

// keyInfo is what Vault says of a key: transit's pathPolicyRead.
type keyInfo struct {
	Name          string          `json:"name"`
	Type          string          `json:"type"`
	Derived       bool            `json:"derived"`
	Convergent    bool            `json:"convergent_encryption"`
	LatestVersion int64           `json:"latest_version"`
	AutoRotate    json.RawMessage `json:"auto_rotate_period"` // seconds; absent before 1.10
	SoftDeleted   bool            `json:"soft_deleted"`       // OpenBao's
}

// types are the types of key that can be a KEK: those that encrypt with
// associated data and can be derived. Managed keys are not among them: what
// they make has other lengths.
var types = map[string]bool{"aes256-gcm96": true, "chacha20-poly1305": true, "aes128-gcm96": true}

// readKey asks about the key. One that doesn't exist is denied.
func (k *KEK) readKey(ctx context.Context) (keyInfo, error) {
	a, err := send[struct {
		Data *keyInfo `json:"data"`
	}](ctx, k, request{method: http.MethodGet, path: k.at.path("keys")})
	switch {
	case err != nil:
		return keyInfo{}, fmt.Errorf("read the key: %w", err)
	case a.Data == nil || a.Data.Name == "":
		return keyInfo{}, fmt.Errorf("read the key: %w: the answer has no key", kek.ErrUnavailable)
	case a.Data.Name != k.at.name:
		return keyInfo{}, fmt.Errorf("read the key: %w: the answer is about another key", kek.ErrCorrupt)
	}
	return *a.Data, nil
}

// mode returns how the key binds.
func (i keyInfo) mode() mode {
	if i.Derived {
		return derived
	}
	return plain
}

// problem returns why the key can't be a KEK, or "".
func (i keyInfo) problem() string {
	switch {
	case !types[i.Type]:
		return "its type" + i.typeName() + " is none of aes256-gcm96, chacha20-poly1305, aes128-gcm96"
	case i.Convergent:
		// The same key wrapped twice would give the same bytes.
		return "it has convergent_encryption"
	case i.SoftDeleted:
		return "it is soft-deleted"
	case i.LatestVersion < 1:
		return "it has no version"
	}
	return ""
}

// typeWord is what names of types look like; longer ones could be anything.
var typeWord = regexp.MustCompile(`^[0-9a-z_-]{1,20}$`)

func (i keyInfo) typeName() string {
	if !typeWord.MatchString(i.Type) {
		return ""
	}
	return ", " + i.Type + ","
}

// rotates reports whether Vault rotates the key by itself.
func (i keyInfo) rotates() bool {
	switch strings.Trim(string(i.AutoRotate), `"`) {
	case "", "0", "0s", "null":
		return false
	}
	return true
}

// checkSame makes sure that the key is still one that binds as it did when New
// read it. Somebody may have deleted it and made another one of the same name:
// Vault then ignores the context that a derived key needed, and what is wrapped
// would be bound to nothing.
func (k *KEK) checkSame(ctx context.Context) error {
	info, err := k.readKey(ctx)
	if err != nil {
		return err
	}
	if reason := k.changed(info); reason != "" {
		return fmt.Errorf("%w: %s", kek.ErrDenied, reason)
	}
	return nil
}

// changed returns why the key isn't the one of New any more, or "".
func (k *KEK) changed(info keyInfo) string {
	if reason := info.problem(); reason != "" {
		return reason
	}
	if info.mode() != k.mode {
		return "the key was made anew, and derived is " + strconv.FormatBool(info.Derived) + " now"
	}
	return ""
}

// probe is what New encrypts to learn whether the server binds, and otherProbe
// what nothing may decrypt with. They are no keys and no bindings.
const (
	probe      = "vault/v1/hashivault/probe/a-text"
	otherProbe = "vault/v1/hashivault/probe/b-text"
)

// errIgnores has no class: what it means depends on when it is seen.
var errIgnores = errors.New("the server ignores associated_data, which Vault knows since 1.13")

// checkBinds makes sure that the server heeds associated data: one before 1.13
// doesn't know it and ignores it, with a warning that nobody reads.
func (k *KEK) checkBinds(ctx context.Context) error {
	p := params{Plaintext: b64(probe), AssociatedData: b64(probe), Type: mustExist}
	a, err := k.call(ctx, "encrypt", p)
	if err != nil {
		return fmt.Errorf("encrypt a probe: %w", err)
	}
	wrapped, err := a.Data.wrapped(plain)
	if err != nil {
		return fmt.Errorf("encrypt a probe: %w", err)
	}
	err = k.prove(ctx, wrapped, p)
	if errors.Is(err, errIgnores) {
		return fmt.Errorf("%w: %w: use a derived key", kek.ErrDenied, err)
	}
	return err
}

// checkBound makes sure that what was wrapped just now is bound: with a derived
// key by its being the same key still, with a plain one by trying it. New has
// seen that the server binds; but another node may have answered since, of an
// older Vault, in a cluster that is being upgraded, and what is bound to nothing
// there unwraps there as well. That is no fault of the key's, so it is unavailable.
func (k *KEK) checkBound(ctx context.Context, wrapped []byte, p params) error {
	if k.mode == derived {
		return k.checkSame(ctx)
	}
	err := k.prove(ctx, wrapped, p)
	if err == nil || errors.Is(err, kek.ErrDenied) {
		return err
	}
	return fail(kek.ErrUnavailable, fmt.Errorf("what was wrapped is not proven to be bound: %w", err))
}

// prove makes sure that wrapped, of which p were the parameters, decrypts with
// its associated data and doesn't with other. It is one call, so that one node
// says both.
func (k *KEK) prove(ctx context.Context, wrapped []byte, p params) error {
	text := ciphertext{binary.BigEndian.Uint32(wrapped[1:]), wrapped[5:]}.text()
	a, err := k.call(ctx, "decrypt", params{PartialStatus: http.StatusOK, Batch: []params{
		{Ciphertext: text, AssociatedData: p.AssociatedData, Reference: "0"},
		{Ciphertext: text, AssociatedData: b64(otherProbe), Reference: "1"},
	}})
	if err == nil {
		err = inOrder(a.Data.Results, 2)
	}
	if err != nil {
		return fmt.Errorf("decrypt it again: %w", err)
	}
	own, other := a.Data.Results[0], a.Data.Results[1]
	switch {
	case own.Error != "":
		return fmt.Errorf("decrypt it again: %w", failedItem(own.Error))
	case own.Plaintext == nil || subtle.ConstantTimeCompare([]byte(*own.Plaintext), []byte(p.Plaintext)) != 1:
		return fmt.Errorf("decrypt it again: %w: it decrypts to something else", kek.ErrCorrupt)
	case other.Error == "":
		return errIgnores
	case classOfText(other.Error) != kek.ErrCorrupt:
		return fmt.Errorf("decrypt it with other associated data: %w", failedItem(other.Error))
	}
	return nil
}
