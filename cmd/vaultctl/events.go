package main

import (
	"context"
	"fmt"
	"time"

	"github.com/embedvault/vault"
)

// listed records the event of a list that was read from the store itself, since the
// vault has no list over all contexts.
func (s *session) listed(ctx context.Context, err error) error {
	if s.onEvent == nil {
		return err
	}
	e := vault.Event{Name: vault.NamesListed, Time: time.Now(), Actor: s.actor, Reason: s.reason, Err: err}
	if lost := s.onEvent(ctx, e); lost != nil {
		return fmt.Errorf("%w: %w", vault.ErrEvent, lost)
	}
	return err
}
