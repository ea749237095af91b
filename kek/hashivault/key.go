package hashivault

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
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
}

// types are the types of key that can be a KEK: those that encrypt with
// associated data and can be derived. Managed keys are not among them: what
// they make has other lengths.
var types = map[string]bool{"aes256-gcm96": true, "chacha20-poly1305": true, "aes128-gcm96": true}

// readKey asks about the key. One that doesn't exist is denied.
func (k *KEK) readKey(ctx context.Context) (keyInfo, error) {
	var a struct {
		Data *keyInfo `json:"data"`
	}
	err := k.request(ctx, http.MethodGet, k.at.path("keys"), params{}, &a)
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
		return fmt.Sprintf("its type, %.40q, is none of aes256-gcm96, chacha20-poly1305, aes128-gcm96", i.Type)
	case i.Convergent:
		// The same key wrapped twice would give the same bytes.
		return "it has convergent_encryption"
	case i.LatestVersion < 1:
		return "it has no version"
	}
	return ""
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

// probe is what is encrypted to learn whether the server binds, and otherProbe
// what it must not decrypt with. They are no keys and no bindings.
const (
	probe      = "vault/v1/hashivault/probe/a-text"
	otherProbe = "vault/v1/hashivault/probe/b-text"
)

// checkBinds makes sure that the server heeds associated data: one before 1.13
// doesn't know it and ignores it, with a warning that nobody reads. A probe must
// decrypt with its own associated data and not with other.
func (k *KEK) checkBinds(ctx context.Context) error {
	a, err := k.call(ctx, "encrypt", params{Plaintext: b64(probe), AssociatedData: b64(probe), Type: mustExist})
	if err != nil {
		return fmt.Errorf("encrypt a probe: %w", err)
	}
	wrapped, err := a.Data.wrapped(plain)
	if err != nil {
		return fmt.Errorf("encrypt a probe: %w", err)
	}
	text := ciphertext{binary.BigEndian.Uint32(wrapped[1:]), wrapped[5:]}.text()
	p := params{PartialStatus: http.StatusOK, Batch: []params{
		{Ciphertext: text, AssociatedData: b64(probe), Reference: "0"},
		{Ciphertext: text, AssociatedData: b64(otherProbe), Reference: "1"},
	}}
	if a, err = k.call(ctx, "decrypt", p); err == nil {
		err = inOrder(a.Data.Results, 2)
	}
	if err != nil {
		return fmt.Errorf("decrypt a probe: %w", err)
	}
	own, other := a.Data.Results[0], a.Data.Results[1]
	switch {
	case own.Error != "":
		return fmt.Errorf("decrypt a probe: %w", k.failedItem(own.Error, p))
	case own.Plaintext == nil || *own.Plaintext != b64(probe):
		return fmt.Errorf("decrypt a probe: %w: it decrypts to something else", kek.ErrCorrupt)
	case other.Error == "":
		return fmt.Errorf("%w: the server ignores associated_data, which Vault knows since 1.13: use a derived key", kek.ErrDenied)
	case classOfText(other.Error) != kek.ErrCorrupt:
		return fmt.Errorf("decrypt a probe with other associated data: %w", k.failedItem(other.Error, p))
	}
	return nil
}
