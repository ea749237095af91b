package audit

import (
	"context"
	"errors"

	"github.com/embedvault/vault"
)

// Tee returns an OnEvent that gives each event to all of sinks, in this order, also if
// one fails. Its error joins theirs.
func Tee(sinks ...func(context.Context, vault.Event) error) func(context.Context, vault.Event) error {
	return func(ctx context.Context, e vault.Event) error {
		var errs []error
		for _, sink := range sinks {
			errs = append(errs, sink(ctx, e))
		}
		return errors.Join(errs...)
	}
}
