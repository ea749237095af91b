package hashivault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/embedvault/vault/kek"
	"github.com/hashicorp/vault/api"
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

// contains reports whether one of the parameters stands in text.
func (p params) contains(text string) bool {
	for _, s := range []string{p.Plaintext, p.Ciphertext, p.Context, p.AssociatedData} {
		if repeats(text, s) {
			return true
		}
	}
	for _, item := range p.Batch {
		if item.contains(text) {
			return true
		}
	}
	return false
}

// repeats reports whether secret stands in text, or its start, since a text may
// have been cut.
func repeats(text, secret string) bool {
	return secret != "" && strings.Contains(text, secret[:min(len(secret), 24)])
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

// maxAnswer is how much of an answer is read: many times the longest right one.
const maxAnswer = 1 << 20

// request makes a call. Its errors have a class. hide are the parameters that
// no error's text may repeat, whatever the server says.
func (k *KEK) request(ctx context.Context, method, path string, hide params, out any) error {
	if err := ctx.Err(); err != nil {
		return fail(kek.ErrUnavailable, err)
	}
	// The client's namespace is part of the URI. Should somebody change it, then
	// the same path leads to another key.
	if k.client.Namespace() != k.at.namespace {
		return fmt.Errorf("%w: the client's namespace was changed after New", kek.ErrUnavailable)
	}
	r := k.client.NewRequest(method, "/v1/"+path)
	r.WrapTTL = "" // an answer that is wrapped itself is of no use here
	if method == http.MethodPut {
		// Not BodyBytes: the client sends the object again when it is redirected.
		if err := r.SetJSONBody(hide); err != nil {
			return fail(kek.ErrUnavailable, err)
		}
	}
	//lint:ignore SA1019 Its successor, Logical().WriteRawWithContext, cancels the
	// context before the body is read, and shows nothing of a failed batch.
	response, err := k.client.RawRequestWithContext(ctx, r)
	if response != nil && response.Body != nil {
		defer response.Body.Close()
	}
	if err == nil {
		err = decode(response.Body, out)
	} else if batch, ok := out.(*answer); ok && response != nil && len(hide.Batch) > 0 {
		// A batch of which items failed answers 400, with all results.
		if decode(response.Body, out) == nil && batch.Data.Results != nil {
			return nil
		}
	}
	if err != nil {
		return k.failed(ctx, err, hide)
	}
	return nil
}

// decode reads a JSON answer. It zeroes the bytes that it read, since they may
// hold a key. (The strings that were made of them can't be zeroed.)
func decode(body io.Reader, out any) error {
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	defer clear(b)
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case len(b) > maxAnswer:
		return errors.New("the answer is too long")
	case json.Unmarshal(b, out) != nil: // its error quotes the answer
		return errors.New("the answer is not JSON of the right form")
	}
	return nil
}

// call makes one of transit's calls on the key.
func (k *KEK) call(ctx context.Context, op string, p params) (answer, error) {
	var a answer
	err := k.request(ctx, http.MethodPut, k.at.path(op), p, &a)
	return a, err
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

// asResponse returns the server's error, or nil if err is none of it.
func asResponse(err error) *api.ResponseError {
	var r *api.ResponseError
	if !errors.As(err, &r) {
		return nil
	}
	return r
}
