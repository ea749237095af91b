package main

import (
	"context"
	"errors"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
)

// errNothing is the end of a command that found nothing to work on: after a slip in a
// pair or in the namespace all would be well otherwise.
var errNothing = errors.New("nothing matches: no key in this namespace is of a context that contains these pairs; check the pairs, --namespace and --store")

// mustMatch fails with errNothing if there is no key, shredded ones included, of a
// context that contains match.
func (s *session) mustMatch(ctx context.Context, match vault.KeyContext) error {
	for _, err := range s.Keys(ctx, filter(match)) {
		return err
	}
	return errNothing
}

// mustHold is mustMatch, and objects do as well: those whose keys are gone.
func (s *session) mustHold(ctx context.Context, match vault.KeyContext) error {
	err := s.mustMatch(ctx, match)
	if !errors.Is(err, errNothing) {
		return err
	}
	page, listErr := s.store.ListObjects(ctx, storage.ObjectQuery{Contexts: s.contexts(match), IncludeExpired: true, Limit: 1})
	if listErr != nil {
		return listErr
	}
	if len(page.Objects) > 0 {
		return nil
	}
	return err
}
