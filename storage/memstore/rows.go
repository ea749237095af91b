package memstore

import (
	"slices"
	"strings"

	"github.com/embedvault/vault/storage"
)

// row is a record with its place in a list: positions sort as the list does.
type row[T any] struct {
	position string
	value    T
}

type rows[T any] []row[T]

func (rs *rows[T]) add(position string, value T) {
	*rs = append(*rs, row[T]{position, value})
}

// page returns the rows after the position of the last page, if that is not
// nil, and whether there are more.
func (rs rows[T]) page(after []byte, descending bool, limit int) (page rows[T], more bool) {
	slices.SortFunc(rs, func(a, b row[T]) int {
		if descending {
			a, b = b, a
		}
		return strings.Compare(a.position, b.position)
	})
	start := 0
	for after != nil && start < len(rs) && !passed(rs[start].position, string(after), descending) {
		start++
	}
	rs = rs[start:]
	if n := storage.PageLimit(limit); len(rs) > n {
		return rs[:n], true
	}
	return rs, false
}

func passed(position, after string, descending bool) bool {
	if descending {
		return position < after
	}
	return position > after
}
