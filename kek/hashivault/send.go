package hashivault

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/hashicorp/vault/api"
)

// request is a call to be made.
type request struct {
	method, path string  // the path below /v1/
	params       *params // nil: nothing is sent
	token        *string // nil: the client's
}

// reply is what came back, and the token that was sent, which may be the
// client's no more when the reply is read.
type reply[T any] struct {
	value T
	token string
}

// maxAnswer is how much of an answer is read: many times the longest right one.
const maxAnswer = 1 << 20

const (
	errTooLong = note("the answer is too long")
	errNotJSON = note("the answer is not JSON of the right form")
)

// pin returns a copy of the client that sends what the client makes: to that
// namespace, whatever becomes of the client's, and without reading answers
// without end. The SDK copies the body of an answer that is an error whole,
// however long it is, and as long as it unpacks to. The settings are the
// client's own, by reference; only its callbacks for responses are lost, since
// the SDK lets nobody add one.
func pin(client *api.Client, namespace string) *api.Client {
	return client.WithNamespace(namespace).WithResponseCallbacks(func(r *api.Response) {
		if r.Response != nil && r.Body != nil {
			r.Body = &limited{r.Body, maxAnswer}
		}
	})
}

// limited is a body that fails when more than left bytes are read.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	// One byte more than may be there: a body of just that length ends well.
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// send makes a call. Its errors have a class.
func send[T any](ctx context.Context, k *KEK, r request) (T, error) {
	got, err := await(ctx, &k.left, func() (reply[T], error) { return exchange[T](ctx, k, r) })
	if err != nil {
		var none T
		return none, k.failed(ctx, err, got.token)
	}
	return got.value, nil
}

// exchange is the part of a call that is the SDK's. The client makes the
// request, so that its token and its address are those of now.
func exchange[T any](ctx context.Context, k *KEK, r request) (reply[T], error) {
	// The SDK puts a time limit on the context and never cancels it: a timer would
	// stay behind of every call, and of every redirect a connection.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := k.client.NewRequest(r.method, "/v1/"+r.path)
	q.WrapTTL = "" // an answer that is wrapped itself is of no use here
	if r.token != nil {
		q.ClientToken = *r.token
	}
	got := reply[T]{token: q.ClientToken}
	if r.params != nil {
		// Not BodyBytes: the client sends the object again when it is redirected.
		if err := q.SetJSONBody(r.params); err != nil {
			return got, err
		}
	}
	//lint:ignore SA1019 Its successor, Logical().WriteRawWithContext, cancels the
	// context before the body is read, and shows nothing of a failed batch.
	response, err := k.pinned.RawRequestWithContext(ctx, q)
	if response != nil && response.Body != nil {
		defer response.Body.Close()
	}
	switch {
	case err == nil:
		err = decode(response.Body, &got.value)
	case r.isBatch() && isBadRequest(err) && hasResults(response.Body, &got.value):
		err = nil // a batch of which items failed answers 400, with all results
	}
	return got, err
}

func (r request) isBatch() bool { return r.params != nil && len(r.params.Batch) > 0 }

func isBadRequest(err error) bool {
	r := asResponse(err)
	return r != nil && r.StatusCode == http.StatusBadRequest
}

// hasResults reads an answer that is an error, and reports whether it has the
// results of a batch.
func hasResults(body io.Reader, out any) bool {
	a, ok := out.(*answer)
	return ok && decode(body, a) == nil && a.Data.Results != nil
}

// decode reads a JSON answer. It zeroes the bytes that it read, since they may
// hold a key. (The strings that were made of them can't be zeroed.)
func decode(body io.Reader, out any) error {
	b, err := io.ReadAll(body)
	defer clear(b)
	if err != nil {
		return err
	}
	if json.Unmarshal(b, out) != nil { // its error quotes the answer
		return errNotJSON
	}
	return nil
}
