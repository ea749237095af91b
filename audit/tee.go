package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault"
)

// Tee returns an OnEvent that gives each event to all of sinks, in this order, also if
// one fails or panics. Its error joins theirs.
func Tee(sinks ...func(context.Context, vault.Event) error) func(context.Context, vault.Event) error {
	return func(ctx context.Context, e vault.Event) error {
		var errs []error
		for _, sink := range sinks {
			errs = append(errs, guarded(func() error { return sink(ctx, e) }))
		}
		return errors.Join(errs...)
	}
}

// guarded makes a panic in what users give us an error, without the panic's value.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic of type %T", p)
		}
	}()
	return f()
}
