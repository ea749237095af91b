package hashivault

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/embedvault/vault/kek"
)

// maxBatch is how many items go into one call.
const maxBatch = 250

// UnwrapBatch implements [kek.Batcher]: one call for each 250 items.
func (k *KEK) UnwrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	results := make([]kek.BatchResult, len(items))
	k.inChunks(len(items), func(from, to int) { k.unwrapChunk(ctx, items[from:to], results[from:to]) })
	return k.named("unwrap", items, results)
}

// RewrapBatch implements [kek.Batcher]: for each 250 items one call with a
// derived key, and three with a plain one (see [KEK.Rewrap]: to unwrap, to wrap,
// and to see of one of them that it is bound). With a derived key the key is read
// again at the end.
func (k *KEK) RewrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	results := make([]kek.BatchResult, len(items))
	k.inChunks(len(items), func(from, to int) {
		if k.mode == derived {
			k.openChunk(ctx, "rewrap", items[from:to], results[from:to], k.wrappedOf)
		} else {
			k.rewrapChunk(ctx, items[from:to], results[from:to])
		}
	})
	if k.mode == derived && slices.ContainsFunc(results, succeeded) {
		if err := k.checkSame(ctx); err != nil {
			withdraw(results, err)
		}
	}
	return k.named("rewrap", items, results)
}

func succeeded(r kek.BatchResult) bool { return r.Err == nil }

// withdraw takes all results back that there are, for err.
func withdraw(results []kek.BatchResult, err error) {
	for i, r := range results {
		if succeeded(r) {
			results[i] = kek.BatchResult{Err: err}
		}
	}
}

func (k *KEK) inChunks(n int, chunk func(from, to int)) {
	for from := 0; from < n; from += maxBatch {
		chunk(from, min(n, from+maxBatch))
	}
}

// named says in each error what was being done.
func (k *KEK) named(what string, items []kek.BatchItem, results []kek.BatchResult) []kek.BatchResult {
	for i, r := range results {
		if r.Err != nil {
			results[i].Err = fmt.Errorf("hashivault: %s of %d bytes with %s: %w", what, len(items[i].Wrapped), k.URI(), r.Err)
		}
	}
	return results
}

func (k *KEK) wrappedOf(r result) ([]byte, error) { return r.wrapped(k.mode) }

func (k *KEK) unwrapChunk(ctx context.Context, items []kek.BatchItem, results []kek.BatchResult) {
	k.openChunk(ctx, "decrypt", items, results, result.key)
}

// openChunk makes one call for all items that can be parsed, and puts what read
// makes of each result in its place.
func (k *KEK) openChunk(ctx context.Context, op string, items []kek.BatchItem, results []kek.BatchResult, read func(result) ([]byte, error)) {
	var batch []params
	var places []int
	for i, item := range items {
		c, err := parseWrapped(item.Wrapped, k.mode)
		if ctx.Err() != nil {
			err = fail(kek.ErrUnavailable, ctx.Err())
		}
		if err != nil {
			results[i].Err = err
			continue
		}
		p := bound(k.mode, item.Binding)
		p.Ciphertext = c.text()
		batch, places = append(batch, p), append(places, i)
	}
	k.callBatch(ctx, op, batch, places, results, read)
}

// rewrapChunk unwraps all items and wraps those that it could. One call wraps
// them all: one that is bound shows that all are.
func (k *KEK) rewrapChunk(ctx context.Context, items []kek.BatchItem, results []kek.BatchResult) {
	keys := make([]kek.BatchResult, len(items))
	k.unwrapChunk(ctx, items, keys)
	var batch []params
	var places []int
	for i, key := range keys {
		if key.Err != nil {
			results[i].Err = key.Err
			continue
		}
		p := bound(k.mode, items[i].Binding)
		p.Plaintext = base64.StdEncoding.EncodeToString(key.Bytes)
		clear(key.Bytes)
		batch, places = append(batch, p), append(places, i)
	}
	k.callBatch(ctx, "encrypt", batch, places, results, k.wrappedOf)
	for i, place := range places {
		if !succeeded(results[place]) {
			continue
		}
		if err := k.checkBound(ctx, results[place].Bytes, batch[i]); err != nil {
			withdraw(results, err)
		}
		return
	}
}

// callBatch makes the call. What fails as a whole is the failure of each item.
func (k *KEK) callBatch(ctx context.Context, op string, batch []params, places []int, results []kek.BatchResult, read func(result) ([]byte, error)) {
	if len(batch) == 0 {
		return
	}
	for i := range batch {
		batch[i].Reference = strconv.Itoa(i)
	}
	p := params{Batch: batch}
	if op == "encrypt" {
		p.Type = mustExist
	}
	if op != "rewrap" { // which answers 200 anyway, and would warn of a parameter that it doesn't know
		p.PartialStatus = http.StatusOK
	}
	a, err := k.call(ctx, op, p)
	if err == nil {
		err = inOrder(a.Data.Results, len(batch))
	}
	for i, place := range places {
		r := &results[place]
		switch {
		case err != nil:
			r.Err = err
		case a.Data.Results[i].Error != "":
			r.Err = failedItem(a.Data.Results[i].Error)
		default:
			r.Bytes, r.Err = read(a.Data.Results[i])
		}
	}
}

// inOrder checks that there is one result for each item, in the items' order.
// Servers before 1.13 give no references back, to no item; the order is all there
// is then.
func inOrder(results []result, n int) error {
	if results == nil {
		return fmt.Errorf("%w: the answer has no batch_results", kek.ErrUnavailable)
	}
	if len(results) != n {
		return fmt.Errorf("%w: the server answers with %d results to %d items", kek.ErrCorrupt, len(results), n)
	}
	referenced := slices.ContainsFunc(results, func(r result) bool { return r.Reference != "" })
	for i, r := range results {
		if referenced && r.Reference != strconv.Itoa(i) {
			return fmt.Errorf("%w: the server's results are not in the order of the items", kek.ErrCorrupt)
		}
	}
	return nil
}
