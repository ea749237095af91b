package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
)

// tink opens a keyset in the file that --keyset names.
func (o *kekOpener) tink(uri string) (func(context.Context) (kek.Wrapper, error), error) {
	name := strings.TrimPrefix(uri, "tink-keyset:")
	return func(context.Context) (kek.Wrapper, error) {
		file, ok := o.keysets[name]
		if !ok {
			return nil, fmt.Errorf("give --keyset %s=FILE", name)
		}
		return tinkkek.Load(file, tinkkek.Options{Name: name})
	}, nil
}
