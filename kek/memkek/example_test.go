package memkek_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
)

func Example() {
	ctx := context.Background()
	k := memkek.New("test")
	wrapped, err := k.Wrap(ctx, []byte("32 bytes that are some one's key"), kek.Binding{Version: 1})
	fmt.Println(k.URI(), err)

	k.FailNext(1, memkek.Unavailable)
	_, err = k.Unwrap(ctx, wrapped, kek.Binding{Version: 1})
	fmt.Println(errors.Is(err, kek.ErrUnavailable))
	_, err = k.Unwrap(ctx, wrapped, kek.Binding{Version: 2})
	fmt.Println(errors.Is(err, kek.ErrCorrupt))
	fmt.Println(k.Wraps(), k.Unwraps())
	// Output:
	// mem:test <nil>
	// true
	// true
	// 1 2
}
