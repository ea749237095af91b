package hashivault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/embedvault/vault/kek"
)

// params are the parameters of transit's encrypt, decrypt and rewrap, and of
// one item of a batch. Vault's API documentation, "Transit secrets engine".
type params struct {
	Plaintext      string `json:"plaintext,omitempty"`
	Ciphertext     string `json:"ciphertext,omitempty"`
	Context        string `json:"context,omitempty"`
	AssociatedData string `json:"associated_data,omitempty"`
	Reference      string `json:"reference,omitempty"`
	Type           string `json:"type,omitempty"`

	Batch         []params `json:"batch_input,omitempty"`
	PartialStatus int      `json:"partial_failure_response_code,omitempty"`
}

// bound returns parameters with the binding, in the way of mode m.
func bound(m mode, b kek.Binding) params {
	encoded := base64.StdEncoding.EncodeToString(b.AppendBytes(nil))
	if m == derived {
		return params{Context: encoded}
	}
	return params{AssociatedData: encoded}
}

// answer is the answer to encrypt, decrypt and rewrap.
type answer struct {
	Data struct {
		result
		Results []result `json:"batch_results"`
	} `json:"data"`
}

// result is what became of one ciphertext.
type result struct {
	Ciphertext *string     `json:"ciphertext"`
	Plaintext  *string     `json:"plaintext"`
	KeyVersion json.Number `json:"key_version"`
	Error      string      `json:"error"`
	Reference  string      `json:"reference"`
}

// call makes one of transit's calls on the key.
func (k *KEK) call(ctx context.Context, op string, p params) (answer, error) {
	return send[answer](ctx, k, request{method: http.MethodPut, path: k.at.path(op), params: &p})
}

// wrapped returns the wrapped key in a result of encrypt or rewrap.
func (r result) wrapped(m mode) ([]byte, error) {
	if r.Ciphertext == nil {
		return nil, fmt.Errorf("%w: the answer has no ciphertext", kek.ErrUnavailable)
	}
	c, err := parseText(*r.Ciphertext)
	if err != nil {
		return nil, err
	}
	// Servers before 1.5 don't say the version beside the ciphertext.
	if n := r.KeyVersion.String(); n != "" && n != "0" && n != fmt.Sprint(c.version) {
		return nil, errAnswer
	}
	return c.wrapped(m), nil
}

// key returns the key in a result of decrypt.
func (r result) key() ([]byte, error) {
	if r.Plaintext == nil {
		return nil, fmt.Errorf("%w: the answer has no plaintext", kek.ErrUnavailable)
	}
	key, err := base64.StdEncoding.DecodeString(*r.Plaintext)
	if err != nil || len(key) != keyLen {
		clear(key)
		return nil, fmt.Errorf("%w: what was wrapped is not a key of %d bytes", kek.ErrCorrupt, keyLen)
	}
	return key, nil
}
